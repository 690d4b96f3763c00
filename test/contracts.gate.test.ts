/** The gate's rules: what a blessing covers, and every reason why it does not (specification, 7.8). */
import { expect, test } from 'vitest'
import { decidingBlessing, type GateReason, gateAgainst, type Live } from '../contracts/gate.ts'
import type { Blessing } from '../contracts/validation-record.ts'
import { blessingFor, liveImage, liveModel } from './support/blessings.ts'

const now = new Date()
const live: Live = { modelDigest: liveModel, imageDigest: liveImage }
const other = `sha256:${'c'.repeat(64)}`

function reasons(
  blessing: Blessing | undefined,
  at: Live = live,
  revokedAt: string | null = null,
): GateReason[] {
  return gateAgainst(blessing && { blessing, revokedAt }, at, {}, now)
}

test('GT-03: a blessing of the live model and image opens the gate', () => {
  expect(reasons(blessingFor())).toEqual([])
  expect(reasons(blessingFor(), { ...live, platform: 'docker' })).toEqual([])
})

test('GT-02: a model that was not blessed is refused, and no blessing at all is MISSING', () => {
  expect(reasons(blessingFor({ verdict: 'NOT_BLESSED' }))).toEqual(['VERDICT'])
  expect(reasons(undefined)).toEqual(['MISSING'])
  expect(reasons(undefined, {})).toEqual(['MISSING', 'UNPINNED'])
})

test('BY-06 BUG-12: another model, another image and a passed expiry are each named, all at once', () => {
  const late = blessingFor({ expiresAt: new Date(now.getTime() - 1).toISOString() })
  expect(reasons(blessingFor(), { ...live, modelDigest: other })).toEqual(['MODEL_DIGEST'])
  expect(reasons(blessingFor(), { ...live, imageDigest: other })).toEqual(['IMAGE_DIGEST'])
  expect(reasons(late)).toEqual(['EXPIRED'])
  expect(reasons(late, { modelDigest: other, imageDigest: other })).toEqual([
    'MODEL_DIGEST',
    'IMAGE_DIGEST',
    'EXPIRED',
  ])
})

test('what is live must be pinned; a command has no image to pin', () => {
  expect(reasons(blessingFor(), {})).toEqual(['UNPINNED'])
  expect(reasons(blessingFor(), { modelDigest: liveModel })).toEqual(['UNPINNED'])
  const uriOnly = { uri: 's3://m', digest: liveModel, digestKind: 'uri-only', name: 'm' } as const
  expect(reasons(blessingFor({ model: uriOnly }))).toEqual(['UNPINNED'])
  const [image] = blessingFor().binaries
  const command = blessingFor({ binaries: [{ ...image!, digestKind: 'command', platform: 'process' }] })
  expect(reasons(command, { modelDigest: liveModel })).toEqual([])
})

test('a binary that failed, another platform, a revocation, a newer schema and a weak mode are named', () => {
  const [image] = blessingFor().binaries
  expect(reasons(blessingFor({ binaries: [{ ...image!, passed: false }] }))).toEqual(['BINARY_NOT_COVERED'])
  expect(reasons(blessingFor(), { ...live, platform: 'kubernetes' })).toEqual(['PLATFORM'])
  expect(reasons(blessingFor(), live, now.toISOString())).toEqual(['REVOKED'])
  expect(reasons({ ...blessingFor(), schemaVersion: 2 as 1 })).toEqual(['SCHEMA'])
  const loaded = { blessing: blessingFor({ mode: 'LOAD_ONLY' }), revokedAt: null }
  expect(gateAgainst(loaded, live, { requireQuery: true }, now)).toEqual(['MODE_TOO_WEAK'])
})

test('the newest verdict about the live model and image decides; runs that were aborted or broke say nothing', () => {
  const judge = (blessing: Blessing) => ({ blessing, revokedAt: null })
  const good = judge(blessingFor())
  const bad = judge(blessingFor({ verdict: 'NOT_BLESSED' }))
  const aborted = judge(blessingFor({ verdict: 'ABORTED' }))
  const [image] = blessingFor().binaries
  const elsewhere = judge(
    blessingFor({ verdict: 'NOT_BLESSED', binaries: [{ ...image!, imageDigest: other }] }),
  )
  expect(decidingBlessing([aborted, bad, good], live)).toBe(bad)
  expect(decidingBlessing([elsewhere, good], live)).toBe(good)
  expect(decidingBlessing([aborted], live)).toBeUndefined()
  expect(decidingBlessing([good], { modelDigest: other })).toBe(good)
})
