"""Reader for SigComp2009, offline part: ``ROOT/{nfi,nisdcc}NNN/{genuine,forged}/*``.

The scans of NFI are bi-level, those of NISDCC grey. There are skilled forgeries of 19 signers of NFI and of all
twelve of NISDCC, by about 31 forgers each.
"""

from __future__ import annotations

from pathlib import Path

from model.data.readers.folder import FolderDataset

CITATION = (
    "V. L. Blankers et al., The ICDAR 2009 Signature Verification Competition (SigComp2009), ICDAR 2009; "
    "research use"
)


class SigComp2009(FolderDataset):
    """91 signers with 5 to 12 genuine signatures and up to 155 skilled forgeries each."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, name="sigcomp2009", terms="research", citation=CITATION)
