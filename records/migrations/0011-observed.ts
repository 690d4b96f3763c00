/** The trace a prediction belongs to; what metrics count is found by index. */

export function observed(): string[] {
  return [
    `alter table predictions add column trace text not null default ''`,
    `create index deliveries_waiting on deliveries (created_at) where status = 'waiting'`,
    `create index validations_open on validations (seq) where status <> 'ended'`,
  ]
}
