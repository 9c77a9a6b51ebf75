# shellcheck shell=bash
# What .ci/run and .ci/long share: sections with times, uv, the pinned environment.
# Sourced, not run. Expects to stand in the repository's root.

export UV_NO_PROGRESS=1 PIP_DISABLE_PIP_VERSION_CHECK=1 CARGO_TERM_COLOR=never
# One build folder for the checks, the editable install and the wheel: dependencies build once.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
ci_started=$SECONDS
section_started=$SECONDS
section_name=

# Ends the section before, if any, with its time, and opens the next.
section() {
    end_section
    section_name=$1
    section_started=$SECONDS
    printf '\n=== %s\n' "$section_name"
}

end_section() {
    if [[ -n $section_name ]]; then
        printf -- '--- %s: %d s (%d s in all)\n' \
            "$section_name" $((SECONDS - section_started)) $((SECONDS - ci_started))
    fi
    section_name=
}

# Says on the last line which section failed; the tests speak for themselves.
report_failure() {
    local status=$?
    if ((status != 0)) && [[ -n $section_name ]]; then
        printf '\nFAILED in "%s" after %d s (exit %d)\n' \
            "$section_name" $((SECONDS - ci_started)) "$status" >&2
    fi
}
trap report_failure EXIT

# Puts uv on PATH, through pip where it is missing.
ensure_uv() {
    if ! command -v uv >/dev/null; then
        python3 -m pip install --quiet uv ||
            python3 -m pip install --quiet --user --break-system-packages uv
        PATH="$PATH:$(python3 -c 'import sysconfig; print(sysconfig.get_path("scripts"))')"
        PATH="$PATH:$(python3 -m site --user-base)/bin"
        export PATH
    fi
    uv --version
}

# Makes .venv hold requirements.lock, nothing else, and the project as an editable install.
pinned_environment() {
    uv venv --quiet --allow-existing --python '>=3.11' .venv
    VIRTUAL_ENV=$PWD/.venv
    PATH="$VIRTUAL_ENV/bin:$PATH"
    export VIRTUAL_ENV PATH
    uv pip sync --quiet --require-hashes requirements.lock
    # No build isolation: maturin is the pinned one.
    uv pip install --quiet --no-deps --no-build-isolation --editable .
    python --version
}

# Points the data tests at the shared texts where they exist; without them those tests skip.
find_data() {
    if [[ -z ${MINILLM_DATA:-} && -d ../shared/data ]]; then
        MINILLM_DATA=$(cd ../shared/data && pwd)
        export MINILLM_DATA
    fi
    printf 'MINILLM_DATA: %s\n' "${MINILLM_DATA:-not set, data tests skip}"
}
