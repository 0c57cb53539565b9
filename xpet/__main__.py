"""`python -m xpet`, and what `accelerate launch -m xpet` starts."""

from xpet.cli.app import main

if __name__ == "__main__":
    main()
