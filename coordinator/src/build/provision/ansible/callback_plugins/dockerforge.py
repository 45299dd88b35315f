"""Notes what changed and what failed, a JSON object a line, where converge.sh reads it. And keeps what the node says what it is:
text that somebody chose, and no expression."""

import json
import os

from ansible.plugins.callback import CallbackBase
from ansible.utils.unsafe_proxy import wrap_var


# Characters of what is told of one thing. It is cut here only so that its line can be read: the agent cuts it to less, once it
# has taken the secrets out, for half of a secret it would not know.
MOST = 8000


def readable(text):
    """Where it begins, and more of where it ends: what a program said last stands there."""
    return text if len(text) <= MOST else text[: MOST // 4] + " \u2026 " + text[-MOST * 3 // 4 :]


def words(result):
    """Why a task failed: its message, and what the program that it ran said."""
    if result.get("_ansible_no_log", False):
        return ""
    items = [words(item) for item in result.get("results") or [] if isinstance(item, dict) and item.get("failed")]
    if any(items):
        return "; ".join(item for item in items if item)
    message = str(result.get("msg", "")).strip()
    for name in ("stderr", "module_stderr", "stdout", "module_stdout"):
        said = str(result.get(name) or "").strip()
        if said and said not in message:
            return message + ": " + said if message else said
    return message


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "dockerforge"
    CALLBACK_NEEDS_ENABLED = True

    def _note(self, result, status):
        if result._task.action in ("include_role", "ansible.builtin.include_role"):
            return
        # What a task with no_log was about may be a secret; that it changed something is none.
        hidden = result._result.get("_ansible_no_log", False) or result._task.no_log
        told = words(result._result) if status == "failed" else str(result._result.get("msg", ""))
        detail = "" if hidden else told
        line = {"resource": readable(result._task.get_name()), "status": status, "detail": readable(detail)}
        # What is no text any more must not keep the rest from being told.
        with open(os.environ["DOCKERFORGE_OUTCOME"], "a", encoding="utf-8", errors="replace") as outcome:
            outcome.write(json.dumps(line, ensure_ascii=False) + "\n")

    def v2_playbook_on_play_start(self, play):
        # Otherwise {{ lookup('pipe', ...) }} in the title of a blog would be run, and a password with {{ in it be another one.
        values = play.get_variable_manager().extra_vars
        for name in values:
            values[name] = wrap_var(values[name])

    def v2_runner_on_ok(self, result):
        if result._result.get("changed", False):
            self._note(result, "changed")

    def v2_runner_on_failed(self, result, ignore_errors=False):
        if not ignore_errors:
            self._note(result, "failed")

    def v2_runner_on_unreachable(self, result):
        self._note(result, "failed")
