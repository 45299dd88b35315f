# A step that fails after one that went well.

directory '/srv/before'
execute('the step') { command 'echo some output; echo why it is so >&2; exit 3' }
