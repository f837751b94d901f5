"""The registry's rules: one predictor for each stream, each file loaded once, and a file that
can't be used refused by name."""

import shutil
from pathlib import Path

import pytest

from anomalyd.adapters.models.manifest import FORECAST, NEXT_STEP, SHIPPED, Manifest
from anomalyd.errors import ModelError
from anomalyd.model import checkpoint
from anomalyd.model.asset import AssetConfig
from anomalyd.model.asset_module import AssetModule
from anomalyd.runtime import registry
from anomalyd.settings import Stream

CAPACITY = 16


def stream(model: str | None = None) -> Stream:
    return Stream(topic="plant/{sensor}", model=Path(model) if model else None)


def limited(forecast_model: str | None = None) -> Stream:
    path = Path(forecast_model) if forecast_model else None
    return Stream(topic="plant/{sensor}", high=1.0, forecast_model=path)


def test_without_a_model_the_shipped_one_serves_everything(tmp_path: Path) -> None:
    """Every stream, and channels of no stream, share one predictor."""
    served = registry.load([stream(), stream()], tmp_path, CAPACITY)
    assert 3 == len(served.predictors)
    assert 1 == len({id(each) for each in served.predictors})
    assert 1 == len(served.models)


def test_a_stream_has_the_model_that_it_names(tmp_path: Path) -> None:
    """Found beside the configuration; channels of no stream have the shipped one."""
    shutil.copy(checkpoint.shipped(), tmp_path / "pump.safetensors")
    served = registry.load([stream("pump.safetensors"), stream()], tmp_path, CAPACITY)
    pump, shipped, nobody = served.predictors
    assert pump is not shipped
    assert nobody is shipped
    assert pump.name.startswith("pump-")
    assert ["pump.safetensors", checkpoint.shipped().name] == [
        each["file"] for each in served.models
    ]


def test_a_file_is_loaded_once(tmp_path: Path) -> None:
    """Two streams with the same model share a predictor, and it is listed once."""
    shutil.copy(checkpoint.shipped(), tmp_path / "pump.safetensors")
    streams = [stream("pump.safetensors"), stream("pump.safetensors")]
    first, second, _ = registry.load(streams, tmp_path, CAPACITY).predictors
    assert first is second
    served = registry.load(streams, tmp_path, CAPACITY)
    assert ["pump.safetensors"] == [each["file"] for each in served.models]


def test_an_absolute_path_stands_for_itself(tmp_path: Path) -> None:
    """The folder is for relative paths."""
    elsewhere = tmp_path / "elsewhere.safetensors"
    shutil.copy(checkpoint.shipped(), elsewhere)
    served = registry.load([stream(str(elsewhere))], tmp_path / "nowhere", CAPACITY)
    assert served.predictors[0].name.startswith("elsewhere-")


def test_a_model_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    """Its name ends with the beginning of its tensors' SHA-256, which is exported in full."""
    served = registry.load([stream()], tmp_path, CAPACITY)
    digest = checkpoint.load(checkpoint.shipped()).sha256
    assert digest == served.models[0]["sha256"]
    assert f"next_step-{digest[:12]}" == served.predictors[0].name == served.models[0]["model"]


@pytest.mark.parametrize("content", [None, "folder", b"", b"{}", b"not a model" * 100])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | str | None) -> None:
    """Missing, a folder, empty or foreign: ModelError, before anything runs."""
    if content == "folder":
        (tmp_path / "pump.safetensors").mkdir()
    if isinstance(content, bytes):
        (tmp_path / "pump.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"pump\.safetensors"):
        registry.load([stream("pump.safetensors")], tmp_path, CAPACITY)


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    """A flipped bit must not quietly score a plant."""
    damaged = bytearray(checkpoint.shipped().read_bytes())
    damaged[-1000] ^= 1
    (tmp_path / "pump.safetensors").write_bytes(damaged)
    with pytest.raises(ModelError, match=r"pump\.safetensors"):
        registry.load([stream("pump.safetensors")], tmp_path, CAPACITY)


def asset_model(path: Path, inputs: tuple[str, ...] = ()) -> None:
    """Write an asset model that nobody trained."""
    network = AssetModule(AssetConfig(("flow", "pressure"), inputs, hidden=4))
    path.write_bytes(checkpoint.dump(network.network(), {}))


def grouped(model: str, **more: tuple[str, ...]) -> Stream:
    about: dict[str, tuple[str, ...]] = {"group_by": ("machine",)} | more
    return Stream.model_validate(
        {"topic": "plant/{machine}/{sensor}", "model": Path(model), **about}
    )


def test_an_asset_model_serves_the_assets_of_its_stream(tmp_path: Path) -> None:
    """Its channels' own past is the shipped predictor's; two streams share the network."""
    asset_model(tmp_path / "pumps.safetensors", ("valve",))
    streams = [grouped("pumps.safetensors", inputs=("valve",)), stream()]
    served = registry.load([*streams, streams[0]], tmp_path, CAPACITY)
    assert 1 == len({id(each) for each in served.predictors})
    pumps, none, same = served.assets
    assert pumps is not None
    assert pumps is same
    assert none is None
    assert ("flow", "pressure", "valve") == pumps.seats
    assert ["pumps.safetensors", checkpoint.shipped().name] == [
        each["file"] for each in served.models
    ]


def test_an_asset_model_comes_back_as_it_was(tmp_path: Path) -> None:
    """Members, inputs and their order are part of the file."""
    asset_model(tmp_path / "pumps.safetensors", ("valve",))
    loaded = checkpoint.load(tmp_path / "pumps.safetensors").network
    assert AssetConfig(("flow", "pressure"), ("valve",), hidden=4) == loaded.config


@pytest.mark.parametrize(
    ("more", "what"), [({"group_by": ()}, "no group_by"), ({"inputs": ("valve",)}, "inputs")]
)
def test_an_asset_model_that_does_not_fit_its_stream_is_refused(
    tmp_path: Path, more: dict[str, tuple[str, ...]], what: str
) -> None:
    """Without assets, or with other known inputs than it learnt with."""
    asset_model(tmp_path / "pumps.safetensors")
    with pytest.raises(ModelError, match=rf"pumps\.safetensors: .*{what}"):
        registry.load([grouped("pumps.safetensors", **more)], tmp_path, CAPACITY)


def test_only_streams_with_limits_have_a_forecaster(tmp_path: Path) -> None:
    """The shipped one, loaded once and listed once; without limits it is not even read."""
    served = registry.load([stream(), limited(), limited()], tmp_path, CAPACITY)
    nobody, first, second = served.forecasters
    assert nobody is None
    assert first is second is not None
    files = [each["file"] for each in served.models]
    assert [checkpoint.SHIPPED, checkpoint.SHIPPED_FORECAST] == files
    assert 1 == len(registry.load([stream()], tmp_path, CAPACITY).models)


def test_each_kind_of_model_has_its_key(tmp_path: Path) -> None:
    """A forecaster as `model`, or a next-step predictor as `forecast_model`, is refused."""
    forecaster = str(checkpoint.shipped(checkpoint.SHIPPED_FORECAST))
    with pytest.raises(ModelError, match="is a forecaster; that is for `forecast_model`"):
        registry.load([stream(forecaster)], tmp_path, CAPACITY)
    with pytest.raises(ModelError, match="is no forecaster"):
        registry.load([limited(str(checkpoint.shipped()))], tmp_path, CAPACITY)


# --- versions on disk -------------------------------------------------------------------------


def promoted(directory: Path, content: bytes, second: int, role: str = NEXT_STEP) -> str:
    """A version that serves now."""
    store = registry.open_store(directory, 8)
    about = Manifest(role=role, created_s=1e9 + second, seed=1, code_version="0")
    version = store.add(content, about)
    store.promote(version, "better", 1e9 + second)
    return version


def test_what_is_current_serves_where_a_stream_names_nothing(tmp_path: Path) -> None:
    """Under its version's name; a stream that names a file keeps that."""
    version = promoted(tmp_path, checkpoint.shipped().read_bytes(), 1)
    shutil.copy(checkpoint.shipped(), tmp_path / "pump.safetensors")
    store = registry.open_store(tmp_path, 8)
    streams = [stream("pump.safetensors"), stream()]
    pump, current, nobody = registry.load(streams, tmp_path, CAPACITY, store).predictors
    assert (version, version) == (current.name, nobody.name)
    assert pump.name.startswith("pump-")


def test_the_current_forecaster_serves_channels_with_limits(tmp_path: Path) -> None:
    content = checkpoint.shipped(checkpoint.SHIPPED_FORECAST).read_bytes()
    version = promoted(tmp_path, content, 1, FORECAST)
    store = registry.open_store(tmp_path, 8)
    served = registry.load([limited()], tmp_path, CAPACITY, store)
    assert version in {each["model"] for each in served.models}


@pytest.mark.parametrize("what", ["damaged", "foreign", "no predictor"])
def test_a_version_that_cannot_be_used_is_told_and_the_one_before_serves(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    sound = checkpoint.shipped().read_bytes()
    first = promoted(tmp_path, sound, 1)
    forecaster = checkpoint.shipped(checkpoint.SHIPPED_FORECAST).read_bytes()
    second = promoted(
        tmp_path, {"foreign": b"x" * 99, "no predictor": forecaster}.get(what, sound), 2
    )
    if what == "damaged":
        path = tmp_path / "models" / second / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    store = registry.open_store(tmp_path, 8)
    *_, nobody = registry.load([stream()], tmp_path, CAPACITY, store).predictors
    assert first == nobody.name
    assert second in caplog.messages[0]


def asset_version(directory: Path, folder: Path, members: tuple[str, ...]) -> str:
    network = AssetModule(AssetConfig(members, hidden=8)).network()
    store = registry.open_store(directory, 8, [grouped("pumps.safetensors")], folder)
    about = Manifest(role="asset:pumps", created_s=1e9, seed=1, code_version="0")
    version = store.add(checkpoint.dump(network, {}), about)
    store.promote(version, "better", 1e9)
    return version


def test_the_current_version_of_an_asset_class_serves(tmp_path: Path) -> None:
    """In the place of the stream's own file, which is the way back; without a store the file."""
    asset_model(tmp_path / "pumps.safetensors")
    version = asset_version(tmp_path / "state", tmp_path, ("flow", "pressure"))
    streams = [grouped("pumps.safetensors")]
    store = registry.open_store(tmp_path / "state", 8, streams, tmp_path)
    (pumps,) = registry.load(streams, tmp_path, CAPACITY, store).assets
    (own,) = registry.load(streams, tmp_path, CAPACITY).assets
    assert pumps is not None
    assert own is not None
    assert version == pumps.name
    assert own.name.startswith("pumps-")
    assert SHIPPED == store.rollback("asset:pumps", "floods", 1e9)
    (pumps,) = registry.load(streams, tmp_path, CAPACITY, store).assets
    assert pumps is not None
    assert own.name == pumps.name


def test_an_asset_version_that_no_longer_fits_is_told_and_the_file_serves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The stream's file was made anew, with other members."""
    asset_model(tmp_path / "pumps.safetensors")
    version = asset_version(tmp_path / "state", tmp_path, ("flow", "speed"))
    streams = [grouped("pumps.safetensors")]
    store = registry.open_store(tmp_path / "state", 8, streams, tmp_path)
    (pumps,) = registry.load(streams, tmp_path, CAPACITY, store).assets
    assert pumps is not None
    assert pumps.name.startswith("pumps-")
    assert version in caplog.messages[0]
    assert "members" in caplog.messages[0]


def test_two_asset_models_of_one_name_are_refused(tmp_path: Path) -> None:
    """Their versions would be of one role. The same file twice is one."""
    asset_model(tmp_path / "pumps.safetensors")
    (tmp_path / "other").mkdir()
    asset_model(tmp_path / "other" / "pumps.safetensors")
    two = [grouped("pumps.safetensors"), grouped("other/pumps.safetensors")]
    with pytest.raises(ModelError, match="has this name too"):
        registry.open_store(tmp_path, 8, two, tmp_path)
    registry.open_store(tmp_path, 8, [two[0], two[0]], tmp_path)
