/** Predictions whose callers wait for them: a paused queue does not hold them back. */

export function sync(): string[] {
  return ['alter table predictions add column sync bigint not null default 0']
}
