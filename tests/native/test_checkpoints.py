"""Acceptance test 6, and what bad checkpoints get: the published format by weights alone, ours as safetensors."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from native_parts import in_published_format, lora_model, normal  # noqa: E402 - after the skip
from torch import Tensor  # noqa: E402

from runner.native import checkpoints  # noqa: E402
from runner.native.backbone import Backbone, backbone  # noqa: E402
from runner.native.errors import NativeError  # noqa: E402
from runner.native.streams import built  # noqa: E402


@pytest.fixture
def published(tmp_path: Path) -> tuple[Backbone, Path]:
    model = built(5, lambda: backbone("tinylight", 6)).eval()
    with torch.no_grad():
        for name, value in model.named_buffers():
            if name.endswith("running_mean"):
                value.add_(0.1)
    path = tmp_path / "CODE_testtinylightbias_full_checkpoint.pkl"
    torch.save(in_published_format(model), path)
    return model, path


def test_the_made_file_is_what_the_published_one_is(published: tuple[Backbone, Path]) -> None:
    """Test 6: 66 tensors, 278,860 scalars with buffers; so the test's file has the real one's shapes."""
    stored = torch.load(published[1], weights_only=True)
    assert len(stored) == 66
    assert sum(value.numel() for value in stored.values()) == 278_860


def test_the_published_format_loads(published: tuple[Backbone, Path]) -> None:
    """Test 6: with 6 classes the loaded model says what the original said."""
    original, path = published
    model = built(9, lambda: backbone("tinylight", 6)).eval()
    loaded = checkpoints.load_upstream(model, path)
    signal = normal(2, 12, 1024)
    with torch.no_grad():
        assert torch.equal(model(signal).logits, original(signal).logits)
    assert loaded.new == ()
    assert set(loaded.left_out.values()) == {"the causal mask", "the fixed position table, equal to ours"}


def test_a_head_of_other_classes_is_new_and_reported(published: tuple[Backbone, Path]) -> None:
    """Test 6: everything else is set, the last layer and the aux head keep their random start."""
    original, path = published
    model = built(9, lambda: backbone("tinylight", 18, aux=True)).eval()
    before = model.classifier[1].weight.detach().clone()
    loaded = checkpoints.load_upstream(model, path)
    assert torch.equal(model.classifier[1].weight, before)
    assert loaded.left_out["classifier.1.weight"] == "6 classes there, 18 here: a new head"
    assert {name.split(".")[0] for name in loaded.new} == {"classifier", "aux_classifier"}
    signal = normal(2, 12, 1024)
    with torch.no_grad():
        assert torch.equal(model.features(signal), original.features(signal))


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("never"),)


def test_a_file_with_objects_is_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Test 6: weights-only; what the object would do is not done."""
    monkeypatch.chdir(tmp_path)
    for name, write in (("torch.pkl", torch.save), ("plain.pkl", _pickled)):
        write({"classifier.0.weight": Payload()}, tmp_path / name)
        with pytest.raises(NativeError, match=r"cannot be read as weights alone.*never loaded"):
            checkpoints.load_upstream(backbone("tinylight", 6), tmp_path / name)
    assert not (tmp_path / "never").exists()


def _pickled(value: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(value, protocol=2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stranger.weight": torch.ones(2)}, "unknown tensor 'stranger.weight'"),
        (
            {"position_encoding.positional_encoding": torch.ones(1, 200, 64)},
            "position table is not the sinusoidal",
        ),
        (
            {"encoder_layers.0.conv1.conv.bias": torch.ones(32)},
            r"encoder.0.conv1.bias is \(32,\) there and \(64,\)",
        ),
        ({"encoder_layers.0.conv1.conv.bias": None}, "encoder.0.conv1.bias is missing"),
    ],
)
def test_files_that_do_not_fit(
    published: tuple[Backbone, Path], change: dict[str, Tensor | None], message: str
) -> None:
    """What is wrong is named, and the model is as before."""
    stored = {**torch.load(published[1], weights_only=True), **change}
    torch.save({name: value for name, value in stored.items() if value is not None}, published[1])
    model = backbone("tinylight", 6)
    before = model.classifier[0].weight.detach().clone()
    with pytest.raises(NativeError, match=message):
        checkpoints.load_upstream(model, published[1])
    assert torch.equal(model.classifier[0].weight, before)


def test_ours_round_trip_with_adapters_and_facts(tmp_path: Path) -> None:
    model, path = lora_model(aux=True), tmp_path / "model.safetensors"
    checkpoints.save(model, path, {"architecture": "tinylight", "classes": "5"})
    other = lora_model(aux=True, seed=50)
    loaded = checkpoints.load(other, path)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    assert loaded.new == ()
    assert checkpoints.facts_of(path) == {"architecture": "tinylight", "classes": "5"}
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_adapters_alone_are_small_and_complete_a_base(tmp_path: Path) -> None:
    """What is trained and the buffers: with the same base they are the whole model, random heads included."""
    model, path = lora_model(aux=True), tmp_path / "adapters.safetensors"
    checkpoints.save(model, path, {}, trained_only=True)
    other = lora_model(aux=True, awake=False)
    checkpoints.load(other, path, partial=True)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    with pytest.raises(NativeError, match="is missing"):
        checkpoints.load(other, path)


def test_another_number_of_classes_is_refused_or_a_new_head(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    checkpoints.save(backbone("tinylight", 19), path, {})
    model = backbone("tinylight", 18)
    with pytest.raises(NativeError, match=r"the checkpoint has 19 classes, this model 18.*model.checkpoint"):
        checkpoints.load(model, path)
    loaded = checkpoints.load(model, path, other_classes="new_head")
    assert set(loaded.left_out) == set(loaded.new) == {"classifier.1.weight", "classifier.1.bias"}


def test_another_member_of_the_family_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    checkpoints.save(backbone("tiny", 18), path, {})
    with pytest.raises(NativeError, match=r"does not fit this model: .* more; nothing was loaded"):
        checkpoints.load(backbone("tinylight", 18), path)


@pytest.mark.parametrize("content", [None, b"", b"no tensors at all"])
def test_missing_and_damaged_files(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NativeError, match=r"model.safetensors: no (such checkpoint|safetensors file)"):
        checkpoints.load(backbone("tinylight", 18), path)
