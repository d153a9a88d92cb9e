"""What the other benchmarks found, as rows of one table."""

from dataclasses import dataclass, replace
from typing import Any

Found = dict[str, Any]
TEXTBOOK, IN_FP32 = "the textbook step", "ours in fp32"


@dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
        what: What was measured, with its unit.
        ours: Our figure.
        peer: That of what a user would take instead.
        against: Who the peer is.
        limit: What the machine can do at most; 0 where nothing is known.
        better: Whether ``higher`` or ``lower`` figures are better.
    """

    what: str
    ours: float
    peer: float
    against: str
    limit: float = 0.0
    better: str = "higher"

    @property
    def ratio(self) -> float:
        """How many times as good as the peer."""
        return self.ours / self.peer if self.better == "higher" else self.peer / self.ours

    def cells(self) -> list[str]:
        """As text."""
        return [
            self.what,
            f"{self.ours:,.4g}",
            f"{self.peer:,.4g}",
            self.against,
            f"{self.limit:,.4g}" if self.limit else "",
            f"{self.ratio:.2f}",
        ]


# What the README shows, the rows that are behind among them: how the row begins, and its peer.
MAIN = {
    "aggregation 23,000": "torch SDPA",
    "training step, batch 4,096": TEXTBOOK,
    "training step in bf16, batch 4,096": TEXTBOOK,
    "encoding, open_clip image": "the model alone on decoded batches",
    "encoding, laion_clap audio": "laion_clap's list of files",
    "pictures decoded, workers: 2": "webdataset in a DataLoader, nothing checked",
    "scan of a store, GB/s": "a list column in Parquet",
    "recall of both directions": "blocks of scores and their top 10",
    "dvc repro with nothing to do": "dvc status",
}
HEADER = ["what", "ours", "peer", "who the peer is", "limit", "ours to peer"]


def markdown(rows: list[Row]) -> str:
    """The table."""
    lines = [HEADER, ["---"] * len(HEADER), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main_rows(rows: list[Row]) -> list[Row]:
    """Those of `rows` that the README shows."""
    return [row for begin, peer in MAIN.items() for row in rows if row.what.startswith(begin) and row.against == peer]


def of_aggregate(found: Found) -> list[Row]:
    """Aggregation beside torch's fused attention, and in bf16 where the CPU has instructions for it."""
    rows = []
    for shape in found["shapes"]:
        rate = {row["name"]: row["gflops_median"] for row in shape["rows"]}
        size = f"{shape['queries']:,} x {shape['memory']:,} x {shape['dimension']}, GFLOP/s"
        for peer in ("torch SDPA", "torch, queries in chunks"):
            if peer in rate:
                limit = rate["matrix product alone"]
                rows.append(Row(f"aggregation {size}", rate["ours"], rate[peer], peer, limit))
        if short := rate.get("ours in bf16"):
            rows.append(Row(f"aggregation in bf16, {size}", short, rate["ours"], IN_FP32))
    return rows


def of_store(found: Found) -> list[Row]:
    """A scan beside `np.load` without checks, and a list column; one of float16 beside a list of them."""
    rate = {row["name"]: row["scan_median"] for row in found["formats"]}
    ours = next(name for name in rate if name.startswith("ours"))
    peers = {"np.load": "np.load, nothing checked", "List": "a list column in Parquet"}
    rows = [Row("scan of a store, GB/s", rate[ours], rate[peer], said, rate["np.load"]) for peer, said in peers.items()]
    halves, peer = rate["ours: float16"], rate["FixedSizeList of float16"]
    return [
        *rows,
        Row(
            "scan of a store in float16, GB/s of float32", halves, peer, "a list column of float16, converted by numpy"
        ),
    ]


def of_whole_store(found: Found) -> list[Row]:
    """A store of several parts into one array, hashes and all, beside files that nobody checks."""
    rates = found["rates"]
    peers = {"np.load": "np.load of as many files, nothing checked", "list columns": "list columns, nothing checked"}
    return [Row("a whole store, hashed, GB/s", rates["ours"], rates[peer], said) for peer, said in peers.items()]


def of_train(found: Found) -> list[Row]:
    """A step beside the textbook step, its limit being its matrix products alone; in bf16 beside fp32, too."""
    rows, full = [], {}
    for row in found["rows"]:
        size = f"batch {row['batch']:,}, {row['width']} wide, ms"
        limit = 1e3 * row["gflop"] / row["gemm_gflops"]
        if row["precision"] == "fp32":
            full[size] = row["ours_ms"]
            rows.append(Row(f"training step, {size}", row["ours_ms"], row["peer_ms"], TEXTBOOK, limit, "lower"))
        else:
            what = f"training step in bf16, {size}"
            rows.append(Row(what, row["ours_ms"], row["peer_ms"], TEXTBOOK, limit, "lower"))
            rows.append(Row(what, row["ours_ms"], full[size], IN_FP32, limit, "lower"))
    return rows


def of_encode(found: Found) -> list[Row]:
    """The whole job beside the bare forward pass, which is its limit as well."""
    return [
        Row(
            f"encoding, {row['space']} {row['modality']}, samples/s",
            row["rates"]["whole"],
            row["rates"]["bare"],
            "the model alone on decoded batches",
            row["rates"]["bare"],
        )
        for row in found["rows"]
    ]


def of_input(found: Found) -> list[Row]:
    """Pictures on their way into the model beside a DataLoader; the limit of a rate is decoding alone, on as many cores."""
    ways, rows = found["ways"], []
    loader, pillow = "webdataset in a DataLoader, nothing checked", "ours, resized by Pillow"
    for workers in found["settings"]["workers"]:
        own, quick, there, peer = (
            ways[f"{name}, {workers}"] for name in ("ours", "ours by torch", "ours on device", "peer")
        )
        limit, quick_limit, limit_there = (
            ways[name]["rate"] * min(workers, found["cores"])
            for name in ("limit", "limit by torch", "limit by torchvision")
        )
        end = f"workers: {workers}, a second"
        rows.append(Row(f"pictures decoded, {end}", own["rate"], peer["rate"], loader, limit))
        rows.append(Row(f"pictures resized by torch, {end}", quick["rate"], own["rate"], pillow, quick_limit))
        rows.append(Row(f"pictures decoded by torchvision, {end}", there["rate"], own["rate"], pillow, limit_there))
        cost = "processor time of the collecting process, us a picture"
        rows.append(Row(f"{cost}, workers: {workers}", own["collector"], peer["collector"], loader, 0, "lower"))
    return rows


def of_audio(found: Found) -> list[Row]:
    """CLAP beside the library's model alone, the library's list of files and our own model alone, which is its limit; then in bf16."""
    rates, what = found["rates"], "laion_clap audio, clips of 10 s a second"
    peers = {
        "library's model": "the library's model alone on decoded batches",
        "library": "laion_clap's list of files",
        "bare": "our model alone on decoded batches",
    }
    rows = [Row(f"encoding, {what}", rates["whole"], rates[peer], said, rates["bare"]) for peer, said in peers.items()]
    return [*rows, Row(f"encoding in bf16, {what}", rates["whole, bf16"], rates["whole"], IN_FP32)]


def of_recall(found: Found) -> list[Row]:
    """Seconds of both directions; the limit is the products of one sweep."""
    what = f"recall of both directions, {found['rows']:,} x {found['rows']:,}, s"
    return [Row(what, found["ours"], found["peer"], "blocks of scores and their top 10", found["products"], "lower")]


def of_nothing(found: Found) -> list[Row]:
    """Commands that find nothing to do; the limit of `dvc repro` is what DVC itself takes where no stage runs."""
    status, shards = found["dvc status"], f"{found['shards']:,} shards, s"
    limit = found["dvc repro of nothing"]
    repro = Row(f"dvc repro with nothing to do, {shards}", found["dvc repro"], status, "dvc status", limit, "lower")
    # DVC is told to run one stage and what it needs; `mcr plan` sees that those after it have not run.
    plan = Row(f"mcr plan, ten stages left to run, {shards}", found["mcr plan"], status, "dvc status", 0, "lower")
    return [repro, replace(repro, peer=found["dvc repro of true"], against="dvc repro, `inputs` doing nothing"), plan]


def of_memory(found: Found) -> list[Row]:
    """The most memory with ten times the data beside that with the data."""
    return [
        Row(
            f"most memory of {name} with ten times the data, MB",
            *reversed(list(sizes.values())),
            "with a tenth of it",
            0,
            "lower",
        )
        for name, sizes in found.items()
    ]


def of_loader(found: Found) -> list[Row]:
    """An epoch beside a DataLoader."""
    return [Row("epoch of training, s", found["ours"], found["peer"], "DataLoader and the textbook step", 0, "lower")]


def of_growth(found: Found) -> list[Row]:
    """The slope of time over size on logarithmic axes; 1 is linear, which is the limit of what reads everything."""
    return [Row(f"growth of {name}, slope", slope, 1.0, "linear", 1.0, "lower") for name, slope in found.items()]
