"""Pictures that are strips: a model that resizes the shorter side would let the longer one grow beyond any memory."""

from PIL import Image

from pipeline.errors import SampleError

MAX_ASPECT = 100


def refuse_strip(image: Image.Image) -> None:
    """Refuse a picture of which one side is more than `MAX_ASPECT` times the other.

    Raises:
        SampleError: It is one.
    """
    if max(image.size) > MAX_ASPECT * min(image.size):
        raise SampleError("preprocess", f"one side of the picture is over {MAX_ASPECT} times the other")
