/** User webhooks: what a prediction's caller ordered, and each event on its way to the receiver. */
import type { SchemaWords } from '../sql/migrations/migration.ts'

export function webhooks({ identity }: SchemaWords): string[] {
  return [
    `alter table predictions add column webhook text not null default ''`,
    // The process that called for a direct prediction: it, or its guard, sends what the outbox holds about it.
    `alter table predictions add column owner text not null default ''`,
    `create table deliveries (
      seq ${identity},
      id text not null unique,
      prediction_id text not null,
      event text not null,
      url text not null,
      body text,
      status text not null,
      attempts bigint not null default 0,
      last_status bigint,
      last_error text not null default '',
      created_at bigint not null,
      tried_at bigint,
      next_at bigint,
      ended_at bigint
    )`,
    `create index deliveries_of on deliveries (prediction_id, seq)`,
    `create index deliveries_by_age on deliveries (created_at)`,
    // Endpoints that answered 410: nothing is sent there any more.
    `create table gone_endpoints (url text primary key, created_at bigint not null)`,
  ]
}
