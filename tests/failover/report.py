"""Figures of many kills as a table and as JSON."""
import json

import numpy as np


def summary(values):
    if not values:
        return None
    return {"p50": round(float(np.percentile(values, 50))), "p99": round(float(np.percentile(values, 99))),
            "worst": round(float(max(values)))}


def share(of):
    """Of the people, those whose app had to do something."""
    people = of.get("people", 0)
    return round((of["rejoined"] + of["resumed"]) / people, 3) if people else None


# What is promised of failures, whoever notices them: milliseconds, by scenario.
EXPECTED = {
    "media node, kill -9": {"audio_gap_ms": {"p50": 500, "p99": 1000}, "video_gap_ms": {"p50": 500, "p99": 1000}},
    "media host, cable pulled": {"audio_gap_ms": {"p50": 1000, "p99": 2000}, "video_gap_ms": {"p50": 1000, "p99": 2000}},
    "two masters at once, kill -9": {"api_gap_ms": {"worst": 1000}},
    "drain of a media node": {"audio_gap_ms": {"p99": 200}, "video_gap_ms": {"p99": 200}},
}
# Of an unmodified client (issue "nobody notices"): milliseconds, by scenario.
EXPECTED_OF_TAKEOVER = {
    "media node, kill -9": {"audio_gap_ms": {"p50": 120, "p99": 300}, "video_gap_ms": {"p50": 300, "p99": 700}},
    "media host, cable pulled": {"audio_gap_ms": {"p50": 500}, "video_gap_ms": {"p50": 500}},
}
# Planned: nobody may see anything. Measured as what comes on top of the gaps of a room where nothing happens.
UNSEEN_MS, PLANNED, FLOOR = 40, "drain of a media node", "nothing (floor of this machine)"


class Report:
    def __init__(self):
        self.scenarios, self.casts, self.notes = {}, {}, {}

    def note(self, name, value):
        """A figure of the whole run."""
        self.notes.setdefault(name, []).append(value)

    def add(self, scenario, cast, **figures):
        """What one strike came to, with that kind of clients in the room."""
        for of in (self.scenarios.setdefault(scenario, {}), self.casts.setdefault(scenario, {}).setdefault(cast, {})):
            of["kills"] = of.get("kills", 0) + 1
            for name, value in figures.items():
                of[name] = of.get(name, [] if isinstance(value, list) else 0) + value

    def result(self):
        def told(of):
            return {key: summary(value) if isinstance(value, list) else value for key, value in of.items()} | {
                "fallback_share": share(of)}
        return {name: told(of) | {"clients": {cast: told(part) for cast, part in self.casts[name].items()}}
                for name, of in self.scenarios.items()}

    def missed(self, takeover):
        """What is not as expected, in words; with `takeover`, nobody may have noticed either."""
        result, lines = self.result(), []
        expected = EXPECTED_OF_TAKEOVER if takeover else EXPECTED
        for name, figures in expected.items():
            for kind, bounds in figures.items():
                for quantile, bound in bounds.items():
                    if name in result and (found := result[name][kind][quantile]) > bound:
                        lines.append(f"{name}: {kind} {quantile} {found}, expected at most {bound}")
        return lines + (self.noticed(result) if takeover else [])

    @staticmethod
    def noticed(result):
        lines = []
        if PLANNED in result and FLOOR in result:
            for kind in ("audio_gap_ms", "video_gap_ms"):
                more = result[PLANNED][kind]["p50"] - result[FLOOR][kind]["p50"]
                if more > UNSEEN_MS:
                    lines.append(f"{PLANNED}: {kind} p50 is {more} above the floor, expected at most {UNSEEN_MS}")
        for name, of in result.items():
            if of["resumed"] or of["rejoined"]:
                lines.append(f"{name}: {of['resumed']} resumed and {of['rejoined']} rejoined of {of['people']}, expected nobody")
        return lines

    def table(self):
        lines = [f"{'scenario':<34}{'kills':>6}  {'audio p50/p99/worst ms':>24}  {'video p50/p99/worst ms':>24}"
                 f"  {'API p50/p99/worst ms':>24}{'unaware':>9}{'resumed':>9}{'rejoined':>10}{'lost':>6}"]
        for name, of in self.result().items():
            lines.append(self.line(name, of))
            if len(of["clients"]) > 1:
                lines += [self.line(f"  with {cast}", part) for cast, part in of["clients"].items()]
        for name, values in self.notes.items():
            of = summary(values)
            lines.append(f"{name}: {of['p50']}/{of['p99']}/{of['worst']} p50/p99/worst")
        return "\n".join(lines)

    @staticmethod
    def line(name, of):
        def gap(key):
            return "/".join(str(of[key][q]) for q in ("p50", "p99", "worst")) if of.get(key) else "-"
        return (f"{name:<34}{of['kills']:>6}  {gap('audio_gap_ms'):>24}  {gap('video_gap_ms'):>24}"
                f"  {gap('api_gap_ms'):>24}{of['unaware']:>9}{of['resumed']:>9}{of['rejoined']:>10}"
                f"{of['lost_participants']:>6}")

    def write(self, path):
        with open(path, "w") as file:
            notes = {name: summary(values) for name, values in self.notes.items()}
            json.dump(self.result() | ({"notes": notes} if notes else {}), file, indent=1)
