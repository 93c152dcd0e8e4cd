#!/bin/sh
# Runs the program of a container, and notes each other instance of it that lives at this moment: sh instance.sh FOLDER CONTAINER PROGRAM…
# The first field after the program's name in /proc/PID/stat is the state, the twentieth the start time, which no later process of this pid shares.
look() {
  read -r stat < "/proc/$1/stat" || return 1
  set -- ${stat##*) }
  state=$1 start=${20}
}
folder=$1 container=$2
shift 2
mkdir -p "$folder/$container"
look $$
self=$$.$start
# First this one, then the others: of two that start at the same time, one at least finds the other.
: > "$folder/$container/$self"
for file in "$folder/$container"/*; do
  other=${file##*/}
  [ "$other" = "$self" ] && continue
  if look "${other%.*}" 2> /dev/null && [ "$state" != Z ] && [ "$start" = "${other#*.}" ]; then
    echo "$container $other $self" >> "$folder/doubles"
  else
    rm -f "$file"
  fi
done
exec "$@"
