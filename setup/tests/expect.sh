# shellcheck shell=bash
# What the tests of scripts count with. Sourced.
passed=0 failed=0

expect() { # WHAT GOT PATTERN
  # shellcheck disable=SC2254 # a pattern
  case $2 in
    $3) passed=$((passed + 1)) ;;
    *)
      failed=$((failed + 1))
      echo "failed: $1: got \`$2\`, wanted \`$3\`"
      ;;
  esac
}
