/** The Kubernetes API that tests run against: real answers of a real API server, Pods without processes. */
import { beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { z } from 'zod'
import { type KubernetesApi, kubernetes, startKubernetes } from './support/kubernetes.ts'

const Pod = z.object({
  spec: z.object({ nodeName: z.string().optional() }),
  status: z.object({ phase: z.string() }),
})
const patience = { timeout: 45_000, interval: 100 }

kubernetes.describe('the Kubernetes API of the tests', () => {
  let api: KubernetesApi
  beforeAll(async () => {
    api = await startKubernetes()
    return () => api.stop()
  }, 120_000)

  test('a Pod is scheduled, runs and goes', async () => {
    await createPod('one', {})
    await vi.waitFor(
      async () => expect(await pod('one')).toMatchObject({ status: { phase: 'Running' } }),
      patience,
    )
    expect((await pod('one')).spec.nodeName).toBeDefined()
    await api.call('DELETE', `${pods}/one`)
    await vi.waitFor(() => expect(pod('one')).rejects.toThrow('404'), patience)
  })

  test('a Pod that asks for GPUs goes to the node that has them, one that asks for too many waits', async () => {
    await createPod('fits', { 'nvidia.com/gpu': '8' })
    await createPod('large', { 'nvidia.com/gpu': '16' })
    await vi.waitFor(async () => expect((await pod('fits')).spec.nodeName).toBe('gpu'), patience)
    await vi.waitFor(async () => {
      const events = JSON.stringify(await api.call('GET', '/api/v1/namespaces/default/events'))
      expect(events).toMatch(/FailedScheduling.*Insufficient nvidia\.com\/gpu/)
    }, patience)
    expect((await pod('large')).status.phase).toBe('Pending')
  })

  test('what is wrong is refused as a real server refuses it', async () => {
    const nameless = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'Not_A_Name' },
      spec: { containers: [] },
    }
    await expect(api.call('POST', pods, nameless)).rejects.toThrow('422')
  })

  const pods = '/api/v1/namespaces/default/pods'

  async function createPod(name: string, limits: Record<string, string>): Promise<void> {
    const containers = [{ name: 'model', image: 'localhost/none:test', resources: { limits } }]
    await api.call('POST', pods, { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: { containers } })
    onTestFinished(async () => {
      await api.call('DELETE', `${pods}/${name}?gracePeriodSeconds=0`).catch(() => {})
    })
  }

  async function pod(name: string): Promise<z.infer<typeof Pod>> {
    return Pod.parse(await api.call('GET', `${pods}/${name}`))
  }
})
