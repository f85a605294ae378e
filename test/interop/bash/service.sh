#!/bin/bash
# A service in bash with curl: it tells the time.
#
#     service.sh http://127.0.0.1:8081/v1/services/clock
curl -sN "$1" | while read -r field data; do
    [[ $field = data: && $data = *'"method":'* ]] || continue
    id=${data#*'"id":"'}
    curl -s -d "{\"now\": $(date +%s)}" "$1/answers/${id%%'"'*}"
done
