/** The deploy gate: whether a blessing covers what is live. Pure; every reason is listed (specification, 7.8). No zod. */
import type { Blessing } from './validation-record.ts'

export const gateReasons = [
  'MISSING',
  'VERDICT',
  'MODEL_DIGEST',
  'IMAGE_DIGEST',
  'BINARY_NOT_COVERED',
  'PLATFORM',
  'EXPIRED',
  'REVOKED',
  'SCHEMA',
  'MODE_TOO_WEAK',
  'UNPINNED',
] as const
export type GateReason = (typeof gateReasons)[number]

/** What is about to serve, as far as the deployment says. */
export interface Live {
  modelDigest?: string
  imageDigest?: string
  /** A runner's kind: docker, kubernetes, process, endpoint. */
  platform?: string
}

export interface GatePolicy {
  /** Blessings of LOAD_ONLY do not do. */
  requireQuery?: boolean
}

export interface JudgedBlessing {
  blessing: Blessing
  revokedAt: string | null
}

/** Empty: it may serve. A denial is a result, never an error. */
export function gateAgainst(
  judged: JudgedBlessing | undefined,
  live: Live,
  policy: GatePolicy,
  now: Date,
): GateReason[] {
  const unpinned = live.modelDigest === undefined
  if (judged === undefined) return unpinned ? ['MISSING', 'UNPINNED'] : ['MISSING']
  const { blessing, revokedAt } = judged
  if (blessing.schemaVersion !== 1) return ['SCHEMA']
  const images = imagesOf(blessing)
  const holds: Record<Exclude<GateReason, 'MISSING' | 'SCHEMA'>, boolean> = {
    VERDICT: blessing.verdict !== 'BLESSED',
    MODEL_DIGEST: !unpinned && blessing.model.digest !== live.modelDigest,
    IMAGE_DIGEST: live.imageDigest !== undefined && !images.known.includes(live.imageDigest),
    BINARY_NOT_COVERED: live.imageDigest !== undefined && images.failed.includes(live.imageDigest),
    PLATFORM:
      live.platform !== undefined && blessing.binaries.every(({ platform }) => platform !== live.platform),
    EXPIRED: new Date(blessing.expiresAt) <= now,
    REVOKED: revokedAt !== null,
    MODE_TOO_WEAK: policy.requireQuery === true && blessing.mode !== 'LOAD_AND_QUERY',
    // A command or a server that was up already has no image whose digest could be named.
    UNPINNED:
      unpinned ||
      blessing.model.digestKind === 'uri-only' ||
      (live.imageDigest === undefined && images.known.length > 0),
  }
  return gateReasons.filter((reason) => reason in holds && holds[reason as keyof typeof holds])
}

/**
 * The blessing that decides: the newest verdict about the live model and image. A run that ended ABORTED or ERROR says
 * nothing about the model. `judged`: newest first.
 */
export function decidingBlessing(judged: readonly JudgedBlessing[], live: Live): JudgedBlessing | undefined {
  const verdicts = judged.filter(
    ({ blessing }) => blessing.verdict === 'BLESSED' || blessing.verdict === 'NOT_BLESSED',
  )
  const ofModel = verdicts.filter(({ blessing }) => blessing.model.digest === live.modelDigest)
  const ofImage = ofModel.filter(
    ({ blessing }) => live.imageDigest !== undefined && imagesOf(blessing).known.includes(live.imageDigest),
  )
  return ofImage[0] ?? ofModel[0] ?? verdicts[0]
}

function imagesOf({ binaries }: Blessing): { known: string[]; failed: string[] } {
  const pinned = binaries.filter(({ digestKind }) => digestKind === 'manifest' || digestKind === 'imageId')
  const digests = (some: typeof pinned) => some.flatMap(({ imageDigest }) => imageDigest ?? [])
  return { known: digests(pinned), failed: digests(pinned.filter(({ passed }) => !passed)) }
}
