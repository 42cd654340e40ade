# From `perf script` of sched:sched_switch with stacks: folded stacks of waiting, in microseconds, for perf/flame.sh --off-cpu.
# The first file names the threads to look at: TID NAME. A thread waits from the event that switches away from it, whose stack
# says where, to the next one that switches to it. What never ended is left out.

BEGIN { from = -1 }

function number(key) { return match($0, " " key "=[0-9]+") ? substr($0, RSTART + length(key) + 2, RLENGTH - length(key) - 2) : -1 }

FNR == NR { tid = $1; sub(/^[0-9]+ /, ""); name[tid] = $0; next }

/ sched:sched_switch: / {
    match($0, /[0-9]+\.[0-9]+: /)
    now = substr($0, RSTART, RLENGTH - 2) * 1e6
    to = number("next_pid")
    if (to in since) {
        waited[stack[to]] += now - since[to]
        delete since[to]
    }
    from = number("prev_pid")
    if (!(from in name)) { from = -1; next }
    since[from] = now
    # Ready to run means that another thread was given the CPU.
    why[from] = $0 ~ / prev_state=R/ ? "ready, others run" : "asleep"
    stack[from] = ""
    next
}

NF > 1 && from >= 0 {
    sub(/^[ \t]*[0-9a-f]+ /, "")
    sub(/::h[0-9a-f]+$/, "")
    gsub(/;/, ":")
    frames = $0 (stack[from] == "" ? "" : ";" stack[from])
    stack[from] = frames
    next
}

NF == 0 && from >= 0 {
    stack[from] = name[from] ";" why[from] (stack[from] == "" ? "" : ";" stack[from])
    from = -1
}

END { for (s in waited) if (waited[s] >= 1) printf "%s %d\n", s, waited[s] }
