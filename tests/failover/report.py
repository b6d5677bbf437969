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


class Report:
    def __init__(self):
        self.scenarios = {}

    def add(self, scenario, **figures):
        of = self.scenarios.setdefault(scenario, {"kills": 0, "lost_participants": 0})
        of["kills"] += 1
        for name, value in figures.items():
            if isinstance(value, list):
                of.setdefault(name, []).extend(value)
            else:
                of[name] = of.get(name, 0) + value

    def result(self):
        return {name: {key: summary(value) if isinstance(value, list) else value for key, value in of.items()}
                | {"fallback_share": share(of)} for name, of in self.scenarios.items()}

    def table(self):
        lines = [f"{'scenario':<34}{'kills':>6}  {'audio p50/p99/worst ms':>24}  {'video p50/p99/worst ms':>24}"
                 f"  {'API p50/p99/worst ms':>24}{'unaware':>9}{'resumed':>9}{'rejoined':>10}{'lost':>6}"]
        for name, of in self.result().items():
            def gap(key, of=of):
                return "/".join(str(of[key][q]) for q in ("p50", "p99", "worst")) if of.get(key) else "-"
            lines.append(f"{name:<34}{of['kills']:>6}  {gap('audio_gap_ms'):>24}  {gap('video_gap_ms'):>24}"
                         f"  {gap('api_gap_ms'):>24}{of['unaware']:>9}{of['resumed']:>9}{of['rejoined']:>10}"
                         f"{of['lost_participants']:>6}")
        return "\n".join(lines)

    def write(self, path):
        with open(path, "w") as file:
            json.dump(self.result(), file, indent=1)
