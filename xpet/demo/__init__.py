"""The embedded world: scenes, grammars, pictures, shipped assets and the script that rebuilds them.

Everything in here is synthetic. It stands in for a real multilingual CLIP so that xpet runs offline in seconds.
"""
