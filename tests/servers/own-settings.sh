# Sourced by the scripts that run difylog: what the caller has exported for a difylog of his own is not about theirs.
# shellcheck shell=bash
unset DIFYLOG_CONFIG ${!DIFYLOG__@} ${!ELASTICSEARCH_@} ${!AMQP_URL@} ${!PG_URL@} ${!PG_PASSWORD@}
