/** The gate on the prediction path: `GATE` and the models file decide, blessings are what it reads. */
import { expect, test, vi } from 'vitest'
import { makeApp } from '../api/app.ts'
import { makeGate } from '../api/gate.ts'
import type { GateMode, ModelsFile } from '../contracts/models.ts'
import { makeMetrics } from '../metrics.ts'
import { startTestApi } from './support/api-app.ts'
import { blessingFor, liveImage, liveModel, storeBlessing } from './support/blessings.ts'

const paths = ['/v1/predict', '/async/v1/predict'] as const
const body = { model_name: 'iris', inputs: { inputs: [1] } }

async function gatedApi(mode: GateMode, line: Partial<ModelsFile['models'][string]> = {}) {
  const pinned = { model_digest: liveModel, image_digest: liveImage }
  const api = await startTestApi({ models: { models: { iris: { platform: 'v2', ...pinned, ...line } } } })
  const gate = makeGate({ validations: api.store.validations, mode })
  const app = makeApp({ ...api.deps, metrics: makeMetrics(), gate }, api.settings)
  const post = async (path: string) => app.request(path, { method: 'POST', body: JSON.stringify(body) })
  return { ...api, post }
}

test.each(paths)(
  'required: %s refuses a model without a blessing, and nothing is written or called',
  async (path) => {
    const { post, records, platform } = await gatedApi('required')
    const answer = await post(path)
    expect(answer.status).toBe(403)
    expect(await answer.json()).toMatchObject({
      code: 'model_not_blessed',
      error: expect.stringContaining('MISSING'),
    })
    expect(await records()).toBe(0)
    expect(platform.calls).toHaveLength(0)
  },
)

test.each(paths)('required: %s serves a blessed model', async (path) => {
  const { post, store } = await gatedApi('required')
  await storeBlessing(store, blessingFor())
  const answer = await post(path)
  expect(answer.status, await answer.clone().text()).toBe(200)
  expect(answer.headers.get('perdure-gate')).toBeNull()
})

test('warn: the model serves, and the answer says why it would not', async () => {
  const { post, store } = await gatedApi('warn', { image_digest: `sha256:${'c'.repeat(64)}` })
  await storeBlessing(store, blessingFor({ expiresAt: new Date(Date.now() - 1000).toISOString() }))
  const answer = await post('/v1/predict')
  expect(answer.status).toBe(200)
  expect(answer.headers.get('perdure-gate')).toBe('warn; IMAGE_DIGEST, EXPIRED')
})

test('off: nobody looks at blessings', async () => {
  const { post, store } = await gatedApi('off')
  const look = vi.spyOn(store.validations, 'blessingsOf')
  expect((await post('/v1/predict')).status).toBe(200)
  expect(look).not.toHaveBeenCalled()
})

test('the models file overrides GATE for one model, both ways', async () => {
  expect((await (await gatedApi('required', { gate: 'off' })).post('/v1/predict')).status).toBe(200)
  expect((await (await gatedApi('off', { gate: 'required' })).post('/v1/predict')).status).toBe(403)
})

test('many requests look once, and a revocation is heard soon', async () => {
  const { post, store } = await gatedApi('required')
  const blessing = blessingFor()
  await storeBlessing(store, blessing)
  const look = vi.spyOn(store.validations, 'blessingsOf')
  const answers = await Promise.all(Array.from({ length: 20 }, () => post('/v1/predict')))
  expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200))
  expect(look.mock.calls.length).toBeLessThan(10)
  await store.validations.revoke(blessing.id, 'recalled')
  await vi.waitFor(
    async () => {
      const answer = await post('/v1/predict')
      expect(answer.status).toBe(403)
      expect(await answer.text()).toContain('REVOKED')
    },
    { timeout: 20_000, interval: 100 },
  )
})

test('a newer validation that fails closes the gate again', async () => {
  const { post, store } = await gatedApi('required')
  await storeBlessing(store, blessingFor())
  await storeBlessing(store, blessingFor({ verdict: 'NOT_BLESSED' }))
  const answer = await post('/v1/predict')
  expect(answer.status).toBe(403)
  expect(await answer.text()).toContain('VERDICT')
})
