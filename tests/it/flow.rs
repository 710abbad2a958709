//! The whole way as an operator runs it: a real RabbitMQ, a real store, `difylog` as a process, faults injected.

mod beside;
mod blocked;
mod bounds;
mod commands;
mod corpus;
mod crashes;
mod letters;
mod operations;
mod outages;
mod poison;
mod replicas;
mod restarts;
mod seeds;
