#!/bin/sh
# Makes the namespace unless it is there. A server that has just started may need a moment.
set -eu

for attempt in 1 2 3 4 5 6 7 8 9 10 11 12; do
  if temporal operator namespace describe -n default || temporal operator namespace create -n default --retention 24h; then
    exit 0
  fi
  echo "attempt $attempt: the namespace is not there yet"
  sleep 5
done
exit 1
