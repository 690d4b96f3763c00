/** Predictions with a deadline of their own (`Cancel-After`), and those that repeat an earlier one. */

export function deadlines(): string[] {
  return [
    'alter table predictions add column deadline_at bigint',
    `alter table predictions add column retry_of text not null default ''`,
  ]
}
