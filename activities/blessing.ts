/** Makes the blessing record of a validation from what its attempts left in the store (specification, 7.7). */
import { modeOf, type ValidationRequest } from '../contracts/validation.ts'
import type { AttemptRecord, BinaryRecord, Blessing, ProbeResults } from '../contracts/validation-record.ts'
import type { ProbeRequest } from '../contracts/validation-requests.ts'
import type {
  AttemptOutcome,
  BinaryState,
  ConclusionInput,
  ValidationPlan,
} from '../contracts/validations.ts'
import { digestJson } from '../protocols/digest.ts'
import { warmupFile, warmupOf } from '../protocols/examples.ts'
import { type StoredAttempt, untilStored, type ValidationStore } from '../records/store.ts'
import { binaryAt } from './candidate.ts'
import { requestsText } from './runner.ts'

/** Undefined for a validation that the store does not know. */
export async function blessingOf(
  validations: ValidationStore,
  conclusion: ConclusionInput,
): Promise<Blessing | undefined> {
  const { id, runId, verdict, error } = conclusion
  const stored = await untilStored(() => validations.get(id))
  if (stored === undefined) return undefined
  const spec: ValidationRequest = JSON.parse(stored.spec)
  const plan: ValidationPlan | undefined = stored.plan === null ? undefined : JSON.parse(stored.plan)
  const attempts = await untilStored(() => validations.attempts(id))
  const createdAt = new Date()
  const body: Omit<Blessing, 'id'> = {
    schemaVersion: 1,
    verdict,
    mode: modeOf(spec),
    createdAt: createdAt.toISOString(),
    expiresAt: new Date(createdAt.getTime() + spec.validationSpec.blessingTtlSeconds * 1000).toISOString(),
    workflowId: id,
    runId,
    model: {
      uri: spec.model.uri ?? spec.model.path ?? '',
      digest: plan?.modelDigest ?? '',
      digestKind: plan?.digestKind ?? 'uri-only',
      name: spec.servingSpec.modelName,
    },
    spec: { digest: digestJson(spec) },
    binaries: conclusion.binaries.map((state, index) => binaryRecord(spec, state, index, attempts)),
    results: conclusion.binaries.map((state, index) => resultsOf(state, index, attempts)),
    ...(error && { error }),
    warnings: warningsOf(conclusion.binaries),
    artifacts: await artifactsOf(validations, conclusion, spec),
  }
  return { id: digestJson(body).replace('sha256:', ''), ...body }
}

function binaryRecord(
  spec: ValidationRequest,
  state: BinaryState,
  index: number,
  attempts: readonly StoredAttempt[],
): BinaryRecord {
  const { kind, image } = binaryAt(spec, index)
  const own = attempts.filter(({ binary }) => binary === index)
  const digest = state.resolved?.digest || own.find(({ imageDigest }) => imageDigest)?.imageDigest
  return {
    kind,
    ...(image !== undefined && { image }),
    ...(digest && { imageDigest: digest }),
    // A platform that told the digest only while the image ran told that of its manifest.
    digestKind: state.resolved?.digest ? state.resolved.digestKind : digest ? 'manifest' : 'none',
    platform: spec.servingSpec.platform.kind,
    limits: Object.fromEntries(
      Object.entries(spec.limits).filter((entry): entry is [string, number] => entry[1] !== undefined),
    ),
    passed: state.attempts.some(({ outcome }) => outcome === 'passed'),
    attempts: state.attempts.map((outcome) =>
      attemptRecord(
        outcome,
        own.find(({ n }) => n === outcome.n),
      ),
    ),
  }
}

function attemptRecord(outcome: AttemptOutcome, stored: StoredAttempt | undefined): AttemptRecord {
  const { binary: _binary, results: _results, imageDigest: _digest, ...kept } = stored ?? { n: outcome.n }
  const { errorClass: _class, message, ...rest } = kept as Partial<AttemptRecord>
  return {
    jobKey: '',
    transitions: [],
    timings: {},
    logsRef: null,
    ...rest,
    ...outcome,
    // The workflow knows a cut message; it also knows failures that reached no activity.
    ...(outcome.errorClass && { message: message ?? outcome.message ?? '' }),
  }
}

function resultsOf(state: BinaryState, index: number, attempts: readonly StoredAttempt[]): ProbeResults {
  const shown = state.attempts.find(({ outcome }) => outcome === 'passed') ?? state.attempts.at(-1)
  return attempts.find(({ binary, n }) => binary === index && n === shown?.n)?.results ?? {}
}

function warningsOf(binaries: readonly BinaryState[]): string[] {
  return binaries.flatMap(({ attempts }, index) =>
    attempts
      .filter(({ cleanup }) => !cleanup.gone)
      .map(
        ({ n, cleanup }) =>
          `CLEANUP_FAILED: binary ${index}, attempt ${n}: ${cleanup.lastError ?? 'the job may still be there'}`,
      ),
  )
}

async function artifactsOf(
  validations: ValidationStore,
  { id, verdict }: ConclusionInput,
  spec: ValidationRequest,
): Promise<Blessing['artifacts']> {
  if (verdict !== 'BLESSED' || spec.requestSpec?.makeWarmup !== true) return {}
  const text = await untilStored(() => validations.text(id, requestsText))
  const requests: ProbeRequest[] = JSON.parse(text ?? '[]')
  if (requests.length === 0) return {}
  const target = { modelName: spec.servingSpec.modelName, binary: binaryAt(spec, 0) }
  await untilStored(() => validations.keepText(id, warmupFile, warmupOf(target, requests)))
  return { warmupRef: warmupFile }
}
