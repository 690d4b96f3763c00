/** Spans by the store's clock keep their beginning too: of a wait for a retry, and of a row's one sender. */

export function spans(): string[] {
  return [
    'alter table predictions add column released_at bigint',
    `alter table outbox add column sender text not null default ''`,
    'alter table outbox add column leased_at bigint',
    'alter table outbox add column leased_until bigint',
  ]
}
