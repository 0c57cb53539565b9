"""The explicit table of forms `xpet merge` writes; a new form is one file and one row here."""

from __future__ import annotations

from xpet.jobs.merge.formats.base import Form
from xpet.jobs.merge.formats.checkpoint import CHECKPOINT
from xpet.jobs.merge.formats.onnx import ONNX
from xpet.jobs.merge.formats.opendelta import OPENDELTA
from xpet.jobs.merge.formats.peft import PEFT
from xpet.jobs.merge.formats.sentence_transformers import SENTENCE_TRANSFORMERS

FORMS: dict[str, Form] = {form.name: form for form in (CHECKPOINT, PEFT, OPENDELTA, ONNX, SENTENCE_TRANSFORMERS)}
