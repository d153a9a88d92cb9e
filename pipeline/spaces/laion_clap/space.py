"""LAION-CLAP: text and audio, the public checkpoints ``630k[-audioset][-fusion]-best.pt`` and their relatives."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.decode.audio import decode_audio
from pipeline.decode.text import decode_text
from pipeline.errors import UserError, choice
from pipeline.modalities import AUDIO, TEXT
from pipeline.precision import dtype_of
from pipeline.spaces.laion_clap import audio as sounds
from pipeline.spaces.laion_clap import library
from pipeline.spaces.laion_clap.spectrogram import by_fft
from pipeline.spaces.protocol import Fingerprint, SpaceSpec, unit_rows
from pipeline.spaces.weights.checkpoints import checkpoint_files, find_checkpoint, load_strictly, read_tensors

# Raise it when the same bytes and weights give other embeddings. The second one takes waves to spectrograms by FFT.
CODE_VERSION = {TEXT: 1, AUDIO: 2, "spectrograms": 1}
MODELS = ("HTSAT-tiny", "HTSAT-base")  # the four 630k checkpoints are HTSAT-tiny
CHOICES: dict[str, tuple[str | bool, ...]] = {  # of each option; the first is the default
    "fusion": (False, True),
    "crop": ("center", "start"),
    "text_model": ("roberta",),
}
TOKENS = 77
# Counters and masks that old releases of transformers and laion_clap saved; nothing in them was learned.
OBSOLETE = ("text_branch.embeddings.position_ids", "text_branch.embeddings.token_type_ids", "attn_mask")
# Power spectra span more than half precision holds, and the library's fusion mixes in full-precision zeros.
FULL_PRECISION = ("spectrogram_extractor", "logmel_extractor", "bn0", "patch_embed")
_PACKAGES = {TEXT: ("transformers",), AUDIO: ("soundfile", "soxr", "torchaudio", "torchlibrosa")}


class LaionClapSpace:
    """A frozen CLAP whose embedding of a clip depends on nothing but the clip.

    Options:
        fusion: Whether the checkpoint is a fusion model (its name says so).
        crop: ``center`` or ``start``: what is heard of a clip longer than 10 s, see `audio.CROPS`.
        text_model: ``roberta``, the only one that the public checkpoints use.
    """

    modalities = (TEXT, AUDIO)
    preparation = ("crop",)

    def __init__(self, clap: Any, tokenizer: Any, fingerprint: Fingerprint, device: str) -> None:
        self.common = fingerprint
        self.dimension: int = clap.joint_embed_shape
        self.fusion = bool(fingerprint["fusion"])
        self.crop = str(fingerprint["crop"])
        self.device = device
        self.clap = clap.to(device).eval().requires_grad_(False)
        _set_precision(self.clap, dtype_of(str(fingerprint["precision"])))
        self.tokenizer = tokenizer
        self.views = sounds.FusionViews(self.crop) if self.fusion else None

    @classmethod
    def load(cls, spec: SpaceSpec, device: str = "cpu") -> "LaionClapSpace":
        """Load the checkpoint of `spec` into the architecture of `spec`, without the network.

        Raises:
            UserError: A setting is wrong, RoBERTa's tokenizer is not in the Hugging Face cache, or the checkpoint is
                missing, damaged, of another architecture, or not the expected one.
        """
        model, options = spec.model or MODELS[0], _options(spec)
        checkpoint = find_checkpoint(spec.checkpoint, spec.sha256)
        folder = library.roberta_folder(checkpoint.path)
        tokenizer = library.load_tokenizer(folder)
        tensors = read_tensors(checkpoint)
        clap = library.build_clap(model, bool(options["fusion"]), folder)
        learned = {name: tensor for name, tensor in tensors.items() if name not in OBSOLETE}
        architecture = f"CLAP {model} {'with' if options['fusion'] else 'without'} fusion"
        load_strictly(clap, learned, checkpoint.path, architecture)
        tower: Any = clap.audio_branch
        tower.spectrogram_extractor = by_fft(tower.spectrogram_extractor)
        fingerprint: Fingerprint = {
            "family": "laion_clap",
            "model": model,
            **options,
            "sha256": checkpoint.sha256,
            "tokenizer_sha256": library.tokenizer_sha256(folder),
            "precision": spec.precision,
        }
        return cls(clap, tokenizer, fingerprint, device)

    @staticmethod
    def weight_files(spec: SpaceSpec) -> list[Path]:
        """The checkpoint, and RoBERTa's tokenizer where it lies beside it and not in the Hugging Face cache."""
        checkpoint = checkpoint_files(spec.checkpoint)
        folder = library.roberta_folder(checkpoint[0])
        return checkpoint + (library.tokenizer_files(folder) if folder.parent == checkpoint[0].parent else [])

    def fingerprint(self, modality: str) -> Fingerprint:
        """Everything that can change an embedding of `modality`."""
        preprocessing = {
            TEXT: f"RoBERTa tokens, cut or padded to {TOKENS}",
            AUDIO: f"mono, soxr {sounds.RESAMPLER} to {sounds.RATE} Hz, 16 bit, repeated whole and zero-padded to 10 s, "
            + sounds.CROPS[self.fusion][self.crop],
        }
        names = ("torch", "laion_clap", *_PACKAGES[modality])
        other = ("crop",) if modality == TEXT else ("tokenizer_sha256",)
        return {
            **{name: value for name, value in self.common.items() if name not in other},
            "code_version": CODE_VERSION["spectrograms" if self.fusion and modality == AUDIO else modality],
            "preprocessing": preprocessing[modality],
            "packages": {name: version(name) for name in names},
        }

    def preprocess(self, modality: str, payload: bytes) -> Tensor:
        """Decode the bytes of one file: text to tokens and mask [2, 77]; audio to a wave [480000], or for a fusion
        model to its four spectrograms, see `audio.FusionViews`.

        Raises:
            SampleError: The bytes cannot be used.
        """
        if modality == TEXT:
            return self._tokens(decode_text(payload))
        wave = sounds.prepare_wave(decode_audio(payload))
        return self.views(wave) if self.views else torch.from_numpy(sounds.one_window(wave, self.crop).copy())

    def _tokens(self, text: str) -> Tensor:
        encoded = self.tokenizer(text, padding="max_length", truncation=True, max_length=TOKENS)
        return torch.tensor([encoded["input_ids"], encoded["attention_mask"]])

    @torch.inference_mode()
    def encode(self, modality: str, batch: Tensor) -> Tensor:
        """Embed a stacked batch [B, ...] as unit vectors [B, 512]."""
        batch = batch.to(self.device)
        if modality == TEXT:
            tokens = {"input_ids": batch[:, 0], "attention_mask": batch[:, 1]}
            return unit_rows(self.clap.encode_text(tokens, device=self.device))
        if self.fusion:
            views, longer = sounds.split_views(batch)
            heard = {"mel_fusion": views, "longer": longer}
        else:
            heard = {"waveform": batch}
        return unit_rows(self.clap.audio_projection(self.clap.encode_audio(heard, device=self.device)["embedding"]))


def _options(spec: SpaceSpec) -> dict[str, str | bool]:
    if (spec.model or MODELS[0]) not in MODELS:
        raise UserError(f"There is no CLAP model {spec.model!r}.", choice(spec.model, MODELS))
    dtype_of(spec.precision)
    options: dict[str, str | bool] = {name: choices[0] for name, choices in CHOICES.items()}
    for name, value in spec.options.items():
        if name not in CHOICES:
            raise UserError(f"A CLAP space has no option {name!r}.", choice(name, CHOICES))
        # 0 and 1 equal False and True, and would be another fingerprint.
        if value not in CHOICES[name] or type(value) is not type(CHOICES[name][0]):
            choices = ", ".join(str(choice).lower() for choice in CHOICES[name])
            raise UserError(f"The option {name} of a CLAP space cannot be {value!r}.", f"Choose one of: {choices}.")
        options[name] = value
    return options


def _set_precision(clap: Any, dtype: torch.dtype) -> None:
    if dtype == torch.float32:
        return
    audio = clap.audio_branch
    others = [child for child in clap.children() if child is not audio]
    for part in others + [child for name, child in audio.named_children() if name not in FULL_PRECISION]:
        part.to(dtype)
    audio.patch_embed.register_forward_hook(lambda _module, _inputs, output: output.to(dtype))
