/** Validations from request to blessing: real Temporal, real store, the process runner (specification, section 8: FL, BY, BUG). */
import { expect, test } from 'vitest'
import { startValidations, tinyRequest } from './support/validations.ts'

test('FL-01 FL-05: a candidate that loads is BLESSED without a single request', async () => {
  const { submit, ended, store, attempts, jobs } = await startValidations()
  const id = await submit(tinyRequest())
  const record = await ended(id)
  expect(record, JSON.stringify(await attempts(id))).toMatchObject({ verdict: 'BLESSED', error: null })
  const { blessing } = (await store.validations.blessing(record.blessingId ?? ''))!
  expect(blessing).toMatchObject({ verdict: 'BLESSED', mode: 'LOAD_ONLY', workflowId: id, warnings: [] })
  expect(blessing.binaries[0]?.attempts).toHaveLength(1)
  expect(blessing.binaries[0]?.attempts[0]?.transitions.map(({ to }) => to)).toEqual([
    'Initial',
    'Scheduled',
    'Running',
    'End',
  ])
  expect((await jobs()).filter(({ alive }) => alive)).toEqual([])
})
