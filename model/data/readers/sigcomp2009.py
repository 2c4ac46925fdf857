"""Reader for SigComp2009, offline part: ``ROOT/{nfi,nisdcc}NNN/{genuine,forged}/*``.

NFI's scans are two-tone, NISDCC's grey. Of NFI 19 people were forged, of NISDCC all twelve, by some 31 forgers each.
"""

from __future__ import annotations

from pathlib import Path

from model.data.readers.folder import FolderDataset

CITATION = (
    "V. L. Blankers et al., The ICDAR 2009 Signature Verification Competition (SigComp2009), ICDAR 2009; "
    "research use"
)


class SigComp2009(FolderDataset):
    """91 people; 5 to 12 genuine signatures, and up to 155 skilled forgeries, each."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, name="sigcomp2009", terms="research", citation=CITATION)
