#!/usr/bin/python3
"""What dnf would install into an empty root, for many requests in one process.

Reads one JSON object a line: {"repositories": [{"id", "path", "priority",
"cost", "exclude": [...], "only": [...]}], "requests": [{"install": [...],
"exclude": [...], "weak": false}], "arch"}. Writes, for each request, one JSON
line: a sorted list of name-epoch:version-release.arch, or {"error": text}.
Uses dnf's own Python interface, as `dnf --installroot` does.
"""

import json
import logging
import os
import sys
import tempfile
import time

import dnf
import dnf.exceptions


def base_of(case, request, scratch):
    base = dnf.Base()
    conf = base.conf
    conf.installroot = os.path.join(scratch, "root")
    conf.cachedir = os.path.join(scratch, "cache")
    conf.persistdir = os.path.join(scratch, "persist")
    conf.logdir = os.path.join(scratch, "log")
    os.makedirs(conf.logdir, exist_ok=True)
    conf.reposdir = []
    conf.pluginpath = []
    conf.substitutions["releasever"] = "3.0"
    conf.substitutions["arch"] = case.get("arch", "x86_64")
    conf.substitutions["basearch"] = case.get("arch", "x86_64")
    conf.best = False
    # A machine that lives on keeps three kernels; an image has those asked for.
    conf.installonly_limit = 0
    conf.install_weak_deps = request.get("weak", False)
    conf.excludepkgs = request.get("exclude", [])
    for one in case["repositories"]:
        repo = base.repos.add_new_repo(one["id"], conf, baseurl=["file://" + one["path"]])
        repo.priority = one.get("priority", 99)
        repo.cost = one.get("cost", 1000)
        repo.excludepkgs = one.get("exclude", [])
        repo.includepkgs = one.get("only", [])
    base.fill_sack(load_system_repo=False)
    return base


def answer(base, request):
    try:
        for spec in request["install"]:
            base.install(spec)
        base.resolve(allow_erasing=False)
    except dnf.exceptions.Error as error:
        return {"error": str(error)}
    chosen = [str(item.pkg.name) + "-%d:%s-%s.%s" % (item.pkg.epoch, item.pkg.version, item.pkg.release, item.pkg.arch)
              for item in base.transaction if item.action in dnf.transaction.FORWARD_ACTIONS]
    return sorted(chosen)


def main():
    logging.disable(logging.CRITICAL)
    for line in sys.stdin:
        case = json.loads(line)
        with tempfile.TemporaryDirectory() as scratch:
            base, setting = None, None
            for request in case["requests"]:
                wanted = (request.get("weak", False), request.get("exclude", []))
                if wanted != setting:
                    # Excludes are applied when packages are loaded.
                    if base is not None:
                        base.close()
                    began = time.monotonic()
                    base, setting = base_of(case, request, scratch), wanted
                    loaded = time.monotonic() - began
                else:
                    base.reset(goal=True)
                began = time.monotonic()
                found = answer(base, request)
                if case.get("timed"):
                    found = {"load": loaded, "solve": time.monotonic() - began, "chosen": found}
                print(json.dumps(found), flush=True)
            if base is not None:
                base.close()


if __name__ == "__main__":
    main()
