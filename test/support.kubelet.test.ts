/** Pods with processes: what a runner reads from Kubernetes is what a real kubelet writes. */
import { beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { z } from 'zod'
import { kubelet, nodeWithinMs, podImage, startNode } from './support/kubelet.ts'
import { type KubernetesApi, startKubernetes } from './support/kubernetes.ts'

const State = z.object({ terminated: z.object({ exitCode: z.number(), reason: z.string() }).optional() })
const Pod = z.object({
  status: z.object({
    phase: z.string(),
    podIP: z.string().optional(),
    containerStatuses: z.array(z.object({ ready: z.boolean(), state: State })).default([]),
  }),
})
const patience = { timeout: 60_000, interval: 200 }

kubelet.describe('a real node', () => {
  let api: KubernetesApi
  beforeAll(async () => {
    api = await startKubernetes({ nodes: {} })
    const node = await startNode(api).catch(async (error: unknown) => {
      await api.stop()
      throw error
    })
    return async () => {
      await node.stop()
      await api.stop()
    }
  }, nodeWithinMs)

  test('a Pod runs a program that answers on its address, and its logs are read through the API', async () => {
    const program = `console.log('model loaded'); require('node:http').createServer((_, answer) => answer.end('ready')).listen(8080)`
    await create('server', program)
    const address = await vi.waitFor(async () => {
      const { podIP, phase } = (await read('server')).status
      expect(phase).toBe('Running')
      return podIP
    }, patience)
    await vi.waitFor(async () => {
      const answer = await fetch(`http://${address}:8080/`, { signal: AbortSignal.timeout(2_000) })
      expect(await answer.text()).toBe('ready')
    }, patience)
    expect(await api.call('GET', `${pods}/server/log`)).toBe('model loaded\n')
  })

  test('a program that takes more memory than it may is OOMKilled with 137', async () => {
    const program = 'const all = []; setInterval(() => all.push(Buffer.alloc(16 << 20, 1)), 20)'
    await create('hungry', program, { memory: '128Mi' })
    const ended = { containerStatuses: [{ state: { terminated: { exitCode: 137, reason: 'OOMKilled' } } }] }
    await vi.waitFor(async () => expect((await read('hungry')).status).toMatchObject(ended), patience)
  })

  const pods = '/api/v1/namespaces/default/pods'

  async function create(name: string, program: string, limits: Record<string, string> = {}): Promise<void> {
    const container = {
      name: 'model',
      image: podImage,
      imagePullPolicy: 'Never',
      args: ['-e', program],
      resources: { limits },
    }
    const spec = { nodeName: 'real', restartPolicy: 'Never', containers: [container] }
    await api.call('POST', pods, { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec })
    onTestFinished(async () => {
      await api.call('DELETE', `${pods}/${name}?gracePeriodSeconds=1`)
      await vi.waitFor(() => expect(read(name)).rejects.toThrow('404'), patience)
    })
  }

  async function read(name: string): Promise<z.infer<typeof Pod>> {
    return Pod.parse(await api.call('GET', `${pods}/${name}`))
  }
})
