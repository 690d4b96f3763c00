/** Blessing records as a validation writes them, for tests of what reads them. */

import type { Blessing } from '../../contracts/validation-record.ts'
import { digestJson } from '../../protocols/digest.ts'
import type { Store } from '../../records/store.ts'

export const liveModel = `sha256:${'a'.repeat(64)}`
export const liveImage = `sha256:${'b'.repeat(64)}`

export function blessingFor(over: Partial<Blessing> = {}): Blessing {
  const body: Omit<Blessing, 'id'> = {
    schemaVersion: 1,
    verdict: 'BLESSED',
    mode: 'LOAD_AND_QUERY',
    createdAt: new Date().toISOString(),
    expiresAt: new Date(Date.now() + 3_600_000).toISOString(),
    workflowId: `validation-${crypto.randomUUID()}`,
    runId: 'run',
    model: { uri: '/models/iris', digest: liveModel, digestKind: 'manifest', name: 'iris' },
    spec: { digest: digestJson({}) },
    binaries: [
      {
        kind: 'open-inference-v2',
        image: 'iris:1',
        imageDigest: liveImage,
        digestKind: 'manifest',
        platform: 'docker',
        limits: {},
        passed: true,
        attempts: [],
      },
    ],
    results: [{}],
    warnings: [],
    artifacts: {},
    ...over,
  }
  return { id: digestJson(body).replace('sha256:', ''), ...body }
}

/** Stores it as the end of a validation of its own. */
export async function storeBlessing({ validations }: Store, blessing: Blessing): Promise<void> {
  await validations.create({ id: blessing.workflowId, modelName: blessing.model.name, spec: '{}' })
  await validations.end(blessing.workflowId, { verdict: blessing.verdict, blessing })
}
