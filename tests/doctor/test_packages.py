"""What this version asks for, in a project without a clone."""

from pipeline.doctor import packages
from pipeline.doctor.finding import FAIL


def test_a_wheel_tells_by_its_metadata_what_it_asks_for(tmp_path, monkeypatch):
    """Beside it lies neither pyproject.toml nor constraints.txt: `mcr doctor` had ended with a missing file."""
    held = ["numpy>=1", "no-such-package<3,>=2", "faiss-cpu>=99; extra == 'cpu'", "tomli; python_version < '3'"]
    monkeypatch.setattr(packages, "requires", {"mcr-connect": held}.get)
    [finding] = packages.packages(tmp_path)
    assert (finding.subject, finding.level) == ("no-such-package", FAIL)
    assert finding.hint == "Run `pip install 'no-such-package<3,>=2'`."
