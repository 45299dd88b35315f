"""Notes what changed and what failed, a JSON object a line, where converge.sh reads it. And keeps what the node says what it is:
text that somebody chose, and no expression."""

import json
import os

from ansible.plugins.callback import CallbackBase
from ansible.utils.unsafe_proxy import wrap_var


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
        detail = "" if hidden else str(result._result.get("msg", ""))
        line = {"resource": result._task.get_name(), "status": status, "detail": detail[:500]}
        with open(os.environ["DOCKERFORGE_OUTCOME"], "a", encoding="utf-8") as outcome:
            outcome.write(json.dumps(line) + "\n")

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
