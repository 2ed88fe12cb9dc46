"""Writes the price catalogue of the example agent from genai-prices (MIT; its data), and says what changed.

Run by setup/prices.sh, in an environment that has genai-prices: python prices.py CATALOGUE
"""
import datetime
import importlib.metadata
import json
import sys
import tomllib

from genai_prices.data import providers
from genai_prices.types import StartDateConstraint, TieredPrices

# Makers of models first: where several providers have a model of one name, the first one's price counts.
PROVIDERS = [
    "openai", "anthropic", "google", "mistral", "deepseek", "x-ai", "cohere", "perplexity", "moonshotai", "zai", "minimax",
    "azure", "aws", "groq", "cerebras", "together", "fireworks", "openrouter",
]
FIELDS = {"input": "input_mtok", "output": "output_mtok", "cache_read": "cache_read_mtok", "cache_write": "cache_write_mtok"}
HEAD = """\
# List prices in USD per million tokens, tokens of text only. Written by `make prices` from {source}: do not edit.
# genai-prices is under the MIT licence, which stands beside this file: catalogue.LICENSE.
# A price of your own goes into the file of AGENT_PRICES_FILE and wins over these.
# `names`: further names of a model. `above`: prices of calls with more input tokens than these; what is not there stays.
# Without a price of their own, tokens read from or written to a cache cost as much as other input.
# as_of: the day on which this release was the newest.
as_of = "{as_of}"
source = "{source}"
"""


def prices_of(model, day):
    """The price list that applies on a day at all hours: one without a condition, or the latest that has begun."""
    if not isinstance(model.prices, list):
        return model.prices
    chosen = None
    for entry in model.prices:
        begun = isinstance(entry.constraint, StartDateConstraint) and entry.constraint.start_date <= day
        if entry.constraint is None or begun:
            chosen = entry.prices
    return chosen


def names_of(match):
    """The names that a rule matches as a whole, and those it matches as the beginning of a dated name."""
    for attribute in ("equals", "starts_with"):
        if hasattr(match, attribute):
            yield getattr(match, attribute)
    for inner in getattr(match, "or_", []):
        yield from names_of(inner)


def entry_of(model, day):
    prices = prices_of(model, day)
    values = {field: getattr(prices, attribute, None) for field, attribute in FIELDS.items()}
    if values["input"] is None or values["output"] is None:
        return None
    entry = {field: number(getattr(value, "base", value)) for field, value in values.items() if value is not None}
    tiers = {}
    for field, value in values.items():
        for tier in value.tiers if isinstance(value, TieredPrices) else []:
            tiers.setdefault(tier.start, {})[field] = number(tier.price)
    if tiers:
        entry["above"] = [{"tokens": tokens, **tier} for tokens, tier in sorted(tiers.items())]
    names = sorted({name.lower() for name in names_of(model.match)} - {model.id.lower(), ""})
    if names:
        entry["names"] = names
    return entry


def number(price):
    price = round(float(price), 10)
    return int(price) if price.is_integer() else price


def toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float):
        return format(value, ".10f").rstrip("0")
    return json.dumps(value)


def catalogue(day):
    known = {provider.id: provider for provider in providers}
    found = {}
    for name in PROVIDERS:
        provider = known[name]
        entries = ((model.id, entry_of(model, day)) for model in sorted(provider.models, key=lambda model: model.id))
        models = {id: entry for id, entry in entries if entry}
        found[name] = {"name": provider.name, "source": (provider.pricing_urls or [""])[0], "models": models}
    return found


def write(file, found, day):
    source = f"genai-prices {importlib.metadata.version('genai-prices')}"
    lines = [HEAD.format(source=source, as_of=day)]
    for id, provider in found.items():
        lines += ["[[provider]]", f"id = {toml(id)}", f"name = {toml(provider['name'])}", f"as_of = {toml(str(day))}"]
        lines += [f"source = {toml(provider['source'])}", "[provider.models]"]
        lines += [f"{toml(model)} = {toml(entry)}" for model, entry in provider["models"].items()] + [""]
    file.write("\n".join(lines))
    return source


def licence():
    """The licence of genai-prices, which its data brings along."""
    [file] = [file for file in importlib.metadata.files("genai-prices") if file.name == "LICENSE"]
    return file.read_text(encoding="utf-8")


def changes(old, new):
    for provider in sorted(old.keys() | new.keys()):
        before, after = (side.get(provider, {}).get("models", {}) for side in (old, new))
        for model in sorted(before.keys() | after.keys()):
            was, now = before.get(model), after.get(model)
            if was != now:
                what = "is new" if was is None else "is gone" if now is None else f"was {toml(was)}"
                yield f"{provider} {model} {what}" + (f": {toml(now)}" if now else "")


def main(file):
    day = datetime.datetime.now(datetime.UTC).date()
    try:
        with open(file, "rb") as text:
            old = {provider.pop("id"): provider for provider in tomllib.load(text)["provider"]}
    except FileNotFoundError:
        old = {}
    found = catalogue(day)
    with open(file, "w", encoding="utf-8") as text:
        source = write(text, found, day)
    with open(file.removesuffix(".toml") + ".LICENSE", "w", encoding="utf-8") as text:
        text.write(licence())
    changed = list(changes(old, found))
    print("\n".join(changed))
    models = sum(len(provider["models"]) for provider in found.values())
    print(f"{models} models of {len(found)} providers from {source}, {len(changed)} changed")


main(sys.argv[1])
