/** The Helm chart on a real API server: every object accepted, unknown fields refused; installed, upgraded, uninstalled. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { beforeAll, expect, test, vi } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import {
  chart,
  definition,
  everything,
  helm,
  needsHelm,
  Pods,
  type Rendered,
  render,
  required,
} from './support/chart.ts'
import { type KubernetesApi, kubernetes, startKubernetes } from './support/kubernetes.ts'

const both = needsHelm.available ? kubernetes : needsHelm

both.describe('the chart on a real API server', () => {
  let api: KubernetesApi
  beforeAll(async () => {
    api = await startKubernetes({ scheduler: false, nodes: {} })
    return () => api.stop()
  }, 120_000)

  const collections: Record<string, string> = {
    ConfigMap: '/api/v1/namespaces/default/configmaps',
    Secret: '/api/v1/namespaces/default/secrets',
    Service: '/api/v1/namespaces/default/services',
    ServiceAccount: '/api/v1/namespaces/default/serviceaccounts',
    Deployment: '/apis/apps/v1/namespaces/default/deployments',
    PodDisruptionBudget: '/apis/policy/v1/namespaces/default/poddisruptionbudgets',
    Ingress: '/apis/networking.k8s.io/v1/namespaces/default/ingresses',
    Job: '/apis/batch/v1/namespaces/default/jobs',
    NetworkPolicy: '/apis/networking.k8s.io/v1/namespaces/default/networkpolicies',
    Role: '/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles',
    RoleBinding: '/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings',
    ScaledObject: '/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects',
  }
  const dryRun = '?dryRun=All&fieldValidation=Strict'
  const accepts = async (object: Rendered) => {
    const path = collections[object.kind]
    expect(path, object.kind).toBeDefined()
    expect(await api.call('POST', `${path}${dryRun}`, object)).toMatchObject({ kind: object.kind })
  }

  test('every object is accepted as it is, with and without what is optional', async () => {
    for (const object of [...render(...required), ...render(...required, ...everything)]) {
      if (object.kind !== 'ScaledObject') await accepts(object)
    }
  }, 120_000)

  test('the ScaledObject fits the definition that KEDA brings', async () => {
    const custom: unknown = parse(readFileSync(definition ?? '', 'utf8'))
    await api.call('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', custom)
    const [scaled] = render(...required, ...everything).filter(({ kind }) => kind === 'ScaledObject')
    await vi.waitFor(() => accepts(scaled!), { timeout: 60_000, interval: 250 })
  }, 120_000)

  test('is installed, upgraded and uninstalled', async () => {
    const run = (...args: string[]) =>
      execFileSync(helm ?? '', args, {
        encoding: 'utf8',
        env: { ...process.env, KUBECONFIG: api.kubeconfigPath },
        timeout: 60_000,
        stdio: ['ignore', 'pipe', 'pipe'],
      })
    const settings = ['--set', 'temporal.address=temporal:7233', '--set', 'secret.existing=perdure-secrets']
    const concurrency = async () => {
      const worker = Pods.parse(
        z
          .object({ spec: z.unknown() })
          .parse(await api.call('GET', `${collections.Deployment}/perdure-worker`)).spec,
      )
      return worker.template.spec.containers[0]?.env.find(({ name }) => name === 'WORKER_CONCURRENCY')
    }
    run('install', 'perdure', chart, ...settings)
    expect(await concurrency()).toMatchObject({ value: '4' })
    run('upgrade', 'perdure', chart, ...settings, '--set', 'worker.concurrency=16')
    expect(await concurrency()).toMatchObject({ value: '16' })
    run('uninstall', 'perdure')
    for (const kind of ['Deployment', 'Service', 'ConfigMap', 'NetworkPolicy', 'PodDisruptionBudget']) {
      const { items } = z
        .object({ items: z.array(z.object({ metadata: z.object({ name: z.string() }) })) })
        .parse(await api.call('GET', collections[kind] ?? ''))
      expect(items.filter(({ metadata }) => metadata.name.startsWith('perdure'))).toEqual([])
    }
  }, 180_000)
})
