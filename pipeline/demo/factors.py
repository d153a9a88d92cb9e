"""The factors of a scene: what there is to see, hear, touch and say."""

FACTORS: dict[str, tuple[str, ...]] = {
    "shape": ("ball", "cube", "cone", "cylinder", "ring", "cross", "star", "diamond"),
    "material": ("metal", "wood", "glass", "stone", "rubber", "paper"),
    "size": ("small", "medium", "large"),
    "count": ("one", "two", "three"),
    "motion": ("still", "rising", "falling"),
    "colour": ("red", "green", "blue", "yellow", "purple", "orange", "cyan", "white"),
    "background": ("night", "grass", "sand", "sky"),
    "ambience": ("silence", "wind", "rain", "hum"),
    "loudness": ("soft", "moderate", "loud"),
}

SHARED_BY_IMAGE_AND_AUDIO = ("shape", "material", "size", "count", "motion")
SHARED_BY_IMAGE_AND_POINT = ("shape", "size", "count", "colour")
SHARED_BY_ALL = ("count", "size", "shape")
SEEN = (*SHARED_BY_IMAGE_AND_AUDIO, "colour", "background")
HEARD = (*SHARED_BY_IMAGE_AND_AUDIO, "ambience", "loudness")
