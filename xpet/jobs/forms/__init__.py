"""The explicit table of forms `xpet merge` writes; a new form is one file and one row here."""

from __future__ import annotations

from xpet.jobs.forms.base import Form
from xpet.jobs.forms.checkpoint import CHECKPOINT
from xpet.jobs.forms.onnx import ONNX
from xpet.jobs.forms.opendelta import OPENDELTA
from xpet.jobs.forms.peft import PEFT
from xpet.jobs.forms.sentence_transformers import SENTENCE_TRANSFORMERS

FORMS: dict[str, Form] = {form.name: form for form in (CHECKPOINT, PEFT, OPENDELTA, ONNX, SENTENCE_TRANSFORMERS)}
