/** Old idempotency keys are found by age. */
export function keyAge(): string[] {
  return ['create index idempotency_keys_by_age on idempotency_keys (created_at)']
}
