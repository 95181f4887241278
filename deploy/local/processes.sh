# Processes by number and by birth: a number that the kernel gave to somebody else is never taken for ours.
# shellcheck shell=bash

# birth PID: when the process began, in clock ticks; nothing when there is none or only its corpse.
birth() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # The name in parentheses may hold spaces; what follows it is counted from the state.
    read -r -a fields <<<"${stat##*) }"
    [[ ${fields[0]} != Z ]] || return 1
    printf '%s' "${fields[19]}"
}

# remember NAME PID: called by a process about to become NAME (exec keeps number and birth).
remember() {
    printf '%s %s\n' "$2" "$(birth "$2")" >"$RUN/$1.pid"
}

# pid_of NAME: its number while it lives.
pid_of() {
    local pid began
    read -r pid began 2>/dev/null <"$RUN/$1.pid" || return 1
    [[ $(birth "$pid") == "$began" ]] || return 1
    printf '%s' "$pid"
}

# gone NAME SECONDS: waits until it has ended.
gone() {
    local deadline=$((SECONDS + $2))
    while pid_of "$1" >/dev/null; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

# end NAME: asks, then insists. PostgreSQL and process-compose understand INT as "now, but cleanly".
end() {
    local pid signal=TERM
    [[ $1 == postgres ]] && signal=INT
    pid=$(pid_of "$1") || { rm -f "$RUN/$1.pid"; return 0; }
    kill -s "$signal" "$pid" 2>/dev/null || true
    if ! gone "$1" 25; then
        say "$1 (pid $pid) did not stop in 25 s: killed"
        kill -9 "$pid" 2>/dev/null || true
        gone "$1" 5 || die "$1 (pid $pid) cannot be ended"
    fi
    rm -f "$RUN/$1.pid"
}

# taken PORT: whether somebody accepts connections there.
taken() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# refuse_taken PORT VARIABLE SERVICE: names the port, its holder when that can be seen, and the way out.
refuse_taken() {
    local holder=""
    taken "$1" || return 0
    command -v ss >/dev/null && holder=$(ss -Hltnp "sport = :$1" 2>/dev/null | grep -o 'users:.*' | head -n 1 || true)
    die "port $1, which $3 needs, is taken${holder:+ by $holder}; stop that, or choose another: make up $2=<port>"
}
