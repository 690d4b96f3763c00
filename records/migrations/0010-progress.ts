/** What a running prediction has given so far, and when its caller was last told of it. */

export function progress(): string[] {
  return [
    'alter table prediction_outputs add column partial text',
    `alter table prediction_outputs add column logs text not null default ''`,
    'alter table prediction_outputs add column output_told_at bigint not null default 0',
    'alter table prediction_outputs add column logs_told_at bigint not null default 0',
  ]
}
