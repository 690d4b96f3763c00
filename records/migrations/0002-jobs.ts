/** Jobs at providers: what finds them again, and the cancels that providers have still to hear. */

export function jobs(): string[] {
  return [
    `create table jobs (
      id text primary key,
      creates bigint not null default 0,
      handle text,
      cancel_due bigint not null default 0
    )`,
    `create index jobs_cancel_due on jobs (id) where cancel_due = 1`,
  ]
}
