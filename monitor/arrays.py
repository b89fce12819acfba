"""Arrays to bytes and back: NumPy's own npz format, never pickle, every member checked by its CRC."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from monitor.errors import StoreError


def pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The arrays as an npz file that ``numpy.load`` reads; equal arrays give equal bytes.

    Uncompressed: a checkpoint is written every few seconds, and counts of a window hardly shrink for what it costs.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            npy.write_array(member, np.asanyarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getbuffer())
    return buffer.getvalue()


def unpack(blob: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of `pack`; `StoreError` when the bytes are not what was written."""
    try:
        with zipfile.ZipFile(io.BytesIO(blob)) as archive:
            return {
                name.removesuffix(".npy"): npy.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)
                for name in archive.namelist()
            }
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, NotImplementedError, RuntimeError) as error:
        message = (
            f"a stored state is damaged ({error}); restore the state directory from a copy or start with a new one"
        )
        raise StoreError(message) from error
