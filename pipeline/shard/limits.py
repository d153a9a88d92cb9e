"""How large a raw file may be before it is taken into memory at all."""

from pipeline.modalities import AUDIO, IMAGE, POINT, TEXT

MAX_TEXT_BYTES = 65_536
MAX_BYTES = {
    TEXT: MAX_TEXT_BYTES,
    IMAGE: 64 << 20,
    AUDIO: 512 << 20,
    POINT: 256 << 20,
}
# Of a modality that the parameters declare.
MAX_DECLARED_BYTES = 256 << 20
# A well-filled archive of numbers is hardly ever smaller than a tenth of its content.
MAX_RATIO = 100
MAX_FACES = 20_000_000
