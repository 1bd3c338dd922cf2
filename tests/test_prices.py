"""Prices: each with its source and day or refused, of the device or machine it is for and of no other."""

from datetime import date, timedelta

import pytest

from results.record.files import ResultsError
from results.tables.prices import FILE, given_price, known_prices, price_of, read_prices, why_unpriced
from tests.fakes.prices import CLOUD, OWNED, price, table

H100 = "NVIDIA H100 80GB HBM3"


def read(tmp_path, *rows):
    return read_prices(table(tmp_path / "prices.csv", *rows))


def test_the_price_of_an_instance_is_shared_by_its_devices(tmp_path):
    (found,) = read(tmp_path, CLOUD)
    assert (found.name, found.usd_per_hour, found.held_usd_per_hour) == ("Cloud c2 here", 2.0, 2.0)
    assert found.cited == "made up, read 2026-11-26 (published)"


def test_an_owned_machine_costs_its_purchase_and_its_electricity(tmp_path):
    (found,) = read(tmp_path, OWNED)
    # 8766 USD / (4 years x 8766 h) = 0.25 USD/h, twice that at half use; 0.5 kW x 1.2 x 0.25 USD/kWh = 0.15 USD/h
    assert found.usd_per_hour == pytest.approx(0.5 + 0.15)
    assert found.held_usd_per_hour == pytest.approx(0.25 + 0.15)


def test_every_price_of_ours_has_a_source_a_day_and_one_place():
    found = read_prices(FILE)
    assert len(found) == 20
    assert all("https://" in one.source and "2025-11-30" <= one.retrieved <= "2026-11-26" for one in found)
    assert len({(one.name, one.device) for one in found}) == len(found)
    assert [one.name for one in found if one.confidence == "uncertain"] == [
        "AWS trn2.48xlarge us-east-2",
        "Azure MI300X (region not stated)",
        "Oracle MI300X (region not stated)",
    ]


def test_the_page_has_every_price_of_ours():
    lines = (FILE.parents[2] / "docs" / "cost.md").read_text(encoding="utf-8").splitlines()
    of_table = [line for line in lines if line.endswith(("secondary |", "uncertain |"))]
    for line, one in zip(of_table, read_prices(FILE), strict=True):
        assert one.name.replace(" MI300X (region not stated)", "") in line.replace(", ", " ")
        assert f" | {one.devices} | {one.usd_per_hour:.4g} | " in line
        assert line.endswith(f", {one.retrieved}, {one.confidence} |")


@pytest.mark.parametrize(
    ("device", "name", "usd"),
    [
        (H100, "AWS p5.48xlarge us-east-1", 6.88),
        (f"{H100} (driver 580.65.06)", "AWS p5.48xlarge us-east-1", 6.88),
        ("NVIDIA H200", "AWS p5en.48xlarge us-east-1", 7.912),
        ("NVIDIA L4", "AWS g6.xlarge us-east-1", 0.8048),
        ("NVIDIA L40S", "AWS g6e.xlarge us-east-1", 1.861),
        ("4 × TPU v6e", "GCP TPU v6e us-east1", 2.7),
        ("TPU v6 lite", "GCP TPU v6e us-east1", 2.7),
        ("1 × TPU v5e", "GCP TPU v5litepod-1 us-east1", 1.2),
        ("TPU v5 lite", "GCP TPU v5litepod-1 us-east1", 1.2),
        ("TPU v5", "GCP TPU v5p-8 us-east1", 4.2),
        ("4 × TPU v5p", "GCP TPU v5p-8 us-east1", 4.2),
        ("4 × TPU v4", "GCP TPU v4-8 us-central2", 3.22),
        # A row is of one NeuronCore: four, two, two, and four of each of 16 chips.
        ("Inferentia ×1", "AWS inf1.xlarge us-east-1", 0.228 / 4),
        ("Inferentia2 ×1", "AWS inf2.xlarge us-east-1", 0.7582 / 2),
        ("Trainium1 ×16", "AWS trn1.2xlarge us-east-1", 1.34375 / 2),
        ("Trainium2 ×16", "AWS trn2.48xlarge us-east-2", 35.76 / 64),
        ("AMD Instinct MI300X", "TensorWave MI300X (region not stated)", 1.5),
        ("TPU v4 lite", None, None),
        ("TPU7x", None, None),
        ("Trainium3 ×16", None, None),
        (f"{H100} MIG 1g.10gb", None, None),
        ("NVIDIA H100 PCIe", None, None),
        ("NVIDIA H200 NVL", None, None),
        ("AMD EPYC", None, None),
        ("", None, None),
    ],
)
def test_a_device_has_its_own_price_or_none(device, name, usd):
    found = price_of(device, "machine", read_prices(FILE))
    assert (found and found.name) == name
    assert usd is None or found.usd_per_hour == pytest.approx(usd)


def test_a_price_of_the_machine_goes_before_one_of_the_device():
    device = price(machine="", device="chip", usd=1.0)
    own, dearer = price(usd=5.0), price(usd=6.0, name="another offer")
    assert price_of("chip", "machine", [device, dearer, own]) == own
    assert price_of("chip", "other", [device, dearer, own]) == device
    assert price_of("another chip", "other", [device, dearer, own]) is None


def test_an_uncertain_price_counts_where_there_is_no_other():
    doubted = price(usd=1.0, confidence="uncertain")
    assert price_of("chip", "machine", [doubted]) == doubted
    assert price_of("chip", "machine", [doubted, price(usd=5.0)]).usd_per_hour == 5.0
    assert price_of("chip", "machine", [doubted, price(usd=5.0, machine="", device="chip")]) == doubted


def test_a_day_that_has_not_come_is_refused(tmp_path):
    today = date.today()
    assert given_price("lab=1", f"{today}", "bill").retrieved == f"{today}"
    tomorrow = today + timedelta(days=1)
    with pytest.raises(ValueError, match=f"--price-date is '{tomorrow}'; expected a day that has come: today is "):
        given_price("lab=1", f"{tomorrow}", "bill")
    with pytest.raises(ResultsError, match=r"prices\.csv, line 3: retrieved is '2936-11-01'; expected a day that has"):
        read(tmp_path, OWNED, {**CLOUD, "retrieved": "2936-11-01"})


def test_a_row_for_both_is_for_that_device_in_that_machine():
    both = price(device="chip", usd=1.0)
    assert price_of("chip", "machine", [both]) == both
    assert price_of("CPU", "machine", [both]) is None
    assert price_of("chip", "other", [both]) is None


@pytest.mark.parametrize("name", ["name", "kind", "devices", "source", "retrieved", "confidence", "region"])
def test_a_price_without_evidence_is_refused(tmp_path, name):
    with pytest.raises(ResultsError, match=rf"prices\.csv, line 3: {name} is empty"):
        read(tmp_path, OWNED, {**CLOUD, name: ""})


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({**CLOUD, "usd_per_hour": "-1"}, "usd_per_hour is '-1'; expected a number over 0"),
        ({**CLOUD, "usd_per_hour": "0"}, "expected a number over 0"),
        ({**CLOUD, "usd_per_hour": "nan"}, "expected a number over 0"),
        ({**CLOUD, "usd_per_hour": "inf"}, "expected a number over 0"),
        ({**CLOUD, "usd_per_hour": "1,5"}, "expected a number over 0"),
        ({**CLOUD, "usd_per_hour": ""}, "usd_per_hour is empty; a row of kind cloud needs"),
        ({**CLOUD, "power_w": "5"}, "power_w is '5'; expected nothing in a row of kind cloud"),
        ({**CLOUD, "devices": "0"}, "devices is '0'; expected how many share the price"),
        ({**CLOUD, "devices": "1.5"}, "devices is '1.5'"),
        ({**CLOUD, "device": ""}, "device and machine are empty"),
        ({**CLOUD, "device": "("}, "line 2: missing"),
        ({**CLOUD, "kind": "spot"}, "kind is 'spot'; expected one of: cloud, owned"),
        ({**CLOUD, "confidence": "rumour"}, "confidence is 'rumour'; expected one of"),
        ({**CLOUD, "retrieved": "2026"}, "retrieved is '2026'; expected a day such as"),
        ({**CLOUD, "retrieved": "2026-02-30"}, "retrieved is '2026-02-30'"),
        ({**CLOUD, "retrieved": "20261126"}, "retrieved is '20261126'"),
        ({**OWNED, "utilisation": "1.1"}, "utilisation is 1.1; expected a share"),
        ({**OWNED, "overhead": "0.9"}, "overhead is 0.9; expected 1 or more"),
        ({**OWNED, "lifetime_years": "-4"}, "lifetime_years is '-4'"),
        ({**OWNED, "power_w": ""}, "power_w is empty; a row of kind owned needs"),
        ({**OWNED, "usd_per_hour": "1"}, "usd_per_hour is '1'; expected nothing in a row of kind owned"),
        ({**OWNED, "purchase_usd": "1e300", "lifetime_years": "1e-300"}, "no finite price"),
    ],
)
def test_what_cannot_be_a_price_is_refused(tmp_path, row, complaint):
    with pytest.raises(ResultsError, match=r"prices\.csv, line 2") as caught:
        read(tmp_path, row)
    assert complaint in str(caught.value)


def test_a_table_of_another_form_is_refused(tmp_path):
    with pytest.raises(ResultsError, match="Cloud c2 here Chip 9000 is there twice"):
        read(tmp_path, CLOUD, {**CLOUD, "usd_per_hour": "9"})
    with pytest.raises(ResultsError, match="its columns are"):
        read_prices(table(tmp_path / "other.csv", header=("name", "usd")))
    with pytest.raises(ResultsError, match="cannot read the prices in"):
        read_prices(tmp_path / "absent.csv")
    path = table(tmp_path / "short.csv", CLOUD)
    path.write_text(path.read_text().rstrip().rpartition(",")[0])
    with pytest.raises(ResultsError, match="it has not the 16 cells of the header"):
        read_prices(path)


def test_what_a_spreadsheet_saves_is_read(tmp_path):
    path = table(tmp_path / "prices.csv", CLOUD)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_prices(path)) == 1


def test_a_table_of_the_user_s_own_is_in_place_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMESTEP_PRICES", str(table(tmp_path / "mine.csv", CLOUD)))
    assert [one.name for one in known_prices()] == ["Cloud c2 here"]
    monkeypatch.setenv("SAMESTEP_PRICES", "")
    assert known_prices() == read_prices(FILE)


def test_a_price_can_be_given_by_hand():
    found = given_price("lab=8/4", "2026-11-26", "our bill")
    assert (found.machine, found.devices, found.usd_per_hour) == ("lab", 4, 2.0)
    assert found.cited == "our bill, read 2026-11-26 (own)"
    assert given_price("lab=0.12", "2026-11-26", "our bill").usd_per_hour == 0.12


@pytest.mark.parametrize(
    ("text", "day", "source", "complaint"),
    [
        ("0.12", "2026-11-26", "bill", "expected MACHINE=USD_PER_HOUR"),
        ("lab=0.12", None, "bill", "no dollar without its date and source"),
        ("lab=0.12", "2026-11-26", None, "no dollar without its date and source"),
        ("lab=0.12", "yesterday", "bill", "--price-date is 'yesterday'"),
        ("lab=cheap", "2026-11-26", "bill", "the price of lab is 'cheap'"),
        ("lab=-1", "2026-11-26", "bill", "the price of lab is '-1'"),
        ("lab=8/0", "2026-11-26", "bill", "the devices of lab is '0'"),
        ("lab=8/", "2026-11-26", "bill", "the devices of lab is ''"),
    ],
)
def test_a_price_by_hand_needs_its_day_and_source(text, day, source, complaint):
    with pytest.raises(ValueError, match=r"price|devices|MACHINE") as caught:
        given_price(text, day, source)
    assert complaint in str(caught.value)


def test_an_unknown_price_says_what_to_do():
    said = why_unpriced("AMD EPYC", "lab")
    assert "no price is known of AMD EPYC, nor of machine lab" in said
    assert "--price lab=USD_PER_HOUR" in said
    assert "SAMESTEP_PRICES" in said
