/** A flight's row holds all that its start needs, so that whoever starts it starts the same one. */

export function flightStarts(): string[] {
  return [
    'alter table flights add column priority bigint',
    `alter table flights add column fairness_key text not null default ''`,
    'alter table flights add column streamed bigint not null default 0',
  ]
}
