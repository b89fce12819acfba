"""The `security.probes` section of the configuration: an endpoint that may be asked, and how little."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError

from monitor.listeners import Bearer
from monitor.probes.settings import Settings, Tensor, faults_of
from monitor.strict import Duration, Fault, Names, Size, Strict


class Input(Strict):
    """One input tensor of the model."""

    name: str = Field(description="name of the input tensor")
    columns: Names = Field(description="columns of the log that it is made of, in order")
    datatype: str = Field(default="FP32", description="its datatype in the Open Inference Protocol")
    shape: tuple[int, ...] = Field(default=(), description="shape of one row, for a column that holds a vector")


class Probes(Bearer):
    """Active probes of an endpoint of the Open Inference Protocol v2; without this section nothing is asked."""

    url: str = Field(description="http://HOST:PORT or https://HOST of the endpoint")
    model: str = Field(description="the model's name there; no other is ever asked")
    version: str = Field(default="", description="the version to ask; the endpoint's own choice unless given")
    inputs: tuple[Input, ...] = Field(description="list of the input tensors")
    output: str = Field(default="", description="the output tensor to read; the first unless given")
    client_header: str = Field(default="X-Client-Id", description="header in which probes say who they are")
    sigma: float = Field(default=0.05, gt=0, le=10, description="noise in scales of each column (in grey levels / 255)")
    draws: int = Field(default=16, ge=0, le=10_000, description="noisy copies of a row")
    certify: Annotated[tuple[int, int], Field(description="draws that choose the class and that bound its share")] = (
        0,
        0,
    )
    rows_per_second: float = Field(default=1.0, gt=0, le=1000, description="rows sent a second at most, copies too")
    share: float = Field(default=0.01, gt=0, le=1, description="rows sent as a share of the traffic at most")
    rows_per_day: int = Field(default=20_000, ge=1, description="rows sent a day at most")
    timeout: Duration = Field(default=2.0, gt=0, description="how long a call may take")
    answer_bytes: Size = Field(default=4 << 20, ge=1024, description="bytes of an answer at most")

    def settings(self, scales: Mapping[str, float], image: str, shape: tuple[int, ...], key: bytes) -> Settings:
        """In the form of the prober; ``scales`` of the numeric columns, ``image`` and its ``shape`` if there is one."""
        used = {column for tensor in self.inputs for column in tensor.columns}
        height, width, channels = shape if image in used and shape else (0, 0, 0)
        return Settings(
            url=self.url,
            model=self.model,
            inputs=tuple(Tensor(one.name, tuple(one.columns), one.datatype, one.shape) for one in self.inputs),
            version=self.version,
            output=self.output,
            scales=scales,
            image=image if image in used else "",
            image_shape=(height, width, channels),
            token=self.token,
            key=key,
            client_header=self.client_header,
            allowed=(self.model,),
            sigma=self.sigma,
            draws=self.draws,
            choosing=self.certify[0],
            counting=self.certify[1],
            rows_per_second=self.rows_per_second,
            share=self.share,
            rows_per_day=self.rows_per_day,
            timeout=self.timeout,
            most_bytes=self.answer_bytes,
        )


_KEYS = {"scales": "inputs", "image": "inputs", "choosing, counting": "certify", "draws, choosing, counting": "certify"}
"""Where the section says what the prober calls otherwise."""


def faults(raw: object, columns: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[Fault]:
    """What the prober would refuse of a raw section that is sound field by field, but for the reference's scales.

    ``columns`` are the model's, as raw.
    """
    try:
        section = Probes.model_validate(raw, context=dict(context))
    except ValidationError:  # told where it stands
        return
    image, shape = columns.get("image"), columns.get("image_shape")
    whole = isinstance(image, str) and isinstance(shape, (list, tuple)) and len(shape) == 3
    sound = whole and all(isinstance(size, int) and size > 0 for size in shape or ())
    known = dict.fromkeys((name for one in section.inputs for name in one.columns), 1.0)
    settings = section.settings(known, str(image) if sound else "", tuple(shape or ()) if sound else (), b"")
    for fault in faults_of(settings):
        name, _, text = fault.partition(": ")
        yield (_KEYS.get(name, name),), text
