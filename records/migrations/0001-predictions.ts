/** First schema: predictions with their payloads apart, flights, queues, processes, idempotency keys, outbox. */
import type { SchemaWords } from '../sql/migrations/migration.ts'

export function predictions({ identity }: SchemaWords): string[] {
  return [
    `create table predictions (
      seq ${identity},
      id text not null unique,
      model_name text not null,
      model_version text not null,
      status text not null,
      running_time text not null default '',
      error_info text not null default '',
      error_code text not null default '',
      created_at bigint not null,
      started_at bigint,
      ended_at bigint,
      queue text not null,
      queue_num bigint not null,
      queue_id text not null,
      uid text not null,
      platform text not null,
      flight text,
      attempts bigint not null default 0,
      failures bigint not null default 0,
      token bigint not null default 0,
      holder text,
      retry_at bigint,
      retry_code text not null default '',
      run_ms double precision
    )`,
    `create index predictions_open on predictions (queue, status) where status in ('pending', 'running')`,
    `create index predictions_of_flight on predictions (flight) where flight is not null`,
    `create index predictions_held on predictions (holder) where holder is not null`,
    `create index predictions_by_model on predictions (model_name, status, seq)`,
    `create index predictions_ended on predictions (ended_at) where ended_at is not null`,
    // Payloads apart: a listing or a status change never touches them.
    `create table prediction_inputs (id text primary key, inputs text not null)`,
    `create table prediction_outputs (id text primary key, outputs text not null)`,
    `create table flights (
      prefix text primary key,
      process_id text not null,
      platform text not null,
      lane text not null,
      heartbeat_timeout_ms bigint not null,
      started bigint not null default 0
    )`,
    `create index flights_unstarted on flights (process_id) where started = 0`,
    `create table idempotency_keys (
      key text primary key,
      fingerprint text not null,
      prediction_id text not null,
      created_at bigint not null
    )`,
    `create index idempotency_keys_of on idempotency_keys (prediction_id)`,
    `create table queues (name text primary key, paused bigint not null default 0)`,
    `create table processes (
      id text primary key,
      role text not null,
      state text not null,
      beat bigint not null default 0,
      created_at bigint not null
    )`,
    `create table outbox (
      seq ${identity},
      prediction_id text not null,
      kind text not null,
      body text not null,
      created_at bigint not null
    )`,
    `create index outbox_of on outbox (prediction_id, seq)`,
  ]
}
