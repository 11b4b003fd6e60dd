"""What lines of the kernel's log mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.collector import kernel_lines, pci, xids

LINES = [
    (
        "NVRM: Xid (PCI:0000:9b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
        ("xid", "gpu", "0000:9b:00.0", 79),
    ),
    ("NVRM: Xid (0000:9b:00): 31, pid=4004, Ch 00000008", ("xid", "gpu", "0000:9b:00.0", 31)),
    ("NVRM: Xid (PCI:0018:01:00): 149, NETIR_LINK_EVT Fatal XC0 i0 Link 08", ("xid", "gpu", "0018:01:00.0", 149)),
    ("NVRM: GPU 0000:18:00.0: GPU has fallen off the bus.", ("xid", "gpu", "0000:18:00.0", 79)),
    (
        "nvidia-nvswitch0: SXid (PCI:0000:05:00.0): 20034, Fatal, Link 30 LTSSM Fault Up",
        ("sxid", "nvswitch", "0000:05:00.0", 20034),
    ),
    (
        "mlx5_core 0000:5e:00.0: poll_health:827:(pid 0): device's health compromised - reached miss count",
        ("nic_error", "nic", "0000:5e:00.0", None),
    ),
    ("mlx5_core 0000:5e:00.0 ens1f0np0: Link down", ("nic_link_down", "nic", "ens1f0np0", None)),
    ("mlx5_core 0000:5e:00.0 ens1f0np0: Link up", ("nic_link_up", "nic", "ens1f0np0", None)),
    ("igb 0000:01:00.0 eth0: igb: eth0 NIC Link is Down", ("nic_link_down", "nic", "eth0", None)),
    ("NETDEV WATCHDOG: eth2 (i40e): transmit queue 3 timed out", ("nic_error", "nic", "eth2", None)),
    ("nvme nvme1: I/O tag 12 (100c) opcode 0x2 QID 5 timeout, aborting", ("nvme_error", "disk", "nvme1", None)),
    ("nvme nvme1: controller is down; will reset: CSTS=0x3", ("nvme_error", "disk", "nvme1", None)),
    ("I/O error, dev nvme0n1, sector 2048 op 0x0:(READ)", ("nvme_error", "disk", "nvme0n1", None)),
    ("critical medium error, dev sda, sector 12345", ("disk_error", "disk", "sda", None)),
    ("XFS (sdb1): metadata I/O error in xfs_imap: daddr 0x5", ("disk_error", "disk", "sdb1", None)),
    (
        "mce: [Hardware Error]: CPU 3: Machine Check: 0 Bank 5: be00000000800400",
        ("mce", "cpu", "3", None),
    ),
    (
        "mce: CPU12: Core temperature above threshold, cpu clock throttled (total events = 7)",
        ("cpu_throttled", "cpu", "12", None),
    ),
    ("{1}[Hardware Error]: event severity: corrected", ("mce_corrected", "host", None, None)),
    ("{1}[Hardware Error]: event severity: fatal", ("mce", "host", None, None)),
    ("EDAC MC0: 1 UE memory read error on CPU_SrcID#0_MC#0", ("edac", "memory", "MC0", 1)),
    ("EDAC MC1: 32 CE memory read error on CPU_SrcID#1", ("edac_corrected", "memory", "MC1", 32)),
    (
        "Memory failure: 0x1ab: recovery action for dirty LRU page: Recovered",
        ("memory_failure", "memory", None, None),
    ),
    ("Out of memory: Killed process 4321 (python) total-vm:1kB", ("oom_kill", "process", "4321", 4321)),
    ("Memory cgroup out of memory: Killed process 77 (python) total-vm:1kB", ("oom_kill", "process", "77", 77)),
    ("INFO: task python:77 blocked for more than 122 seconds.", ("hung_task", "process", "77", 77)),
    ("watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [python:77]", ("cpu_lockup", "cpu", "3", None)),
    ("rcu: INFO: rcu_sched self-detected stall on CPU", ("cpu_lockup", "cpu", None, None)),
    (
        "pt_main_thread[2536443]: segfault at 7f79 ip 00007f7c sp 00007f7c error 4 in libnccl.so.2[7f7c+d3]",
        ("segfault", "process", "2536443", 2536443),
    ),
    (
        "nvidia 0000:1b:00.0: PCIe Bus Error: severity=Uncorrectable (Fatal), type=Transaction Layer",
        ("pcie_error", "pci", "0000:1b:00.0", None),
    ),
    (
        "pcieport 0000:16:01.0: AER: Corrected error message received from 0000:1b:00.0",
        ("pcie_corrected", "pci", "0000:1b:00.0", None),
    ),
]
HARMLESS = [
    "br0: port 2(p1) entered disabled state",
    "ata1: SATA link down (SStatus 0 SControl 300)",
    "NVRM: loading NVIDIA UNIX x86_64 Kernel Module  580.65.06",
    "NVRM: GPU at PCI:0000:9b:00: GPU-00000000-1111-2222-3333-444444444444",
    "nvme nvme0: 8/0/0 default/read/poll queues",
    "EXT4-fs (sda1): mounted filesystem with ordered data mode",
    "mce: CPU0: Thermal monitoring enabled (TM1)",
    "audit: kill process 12",
]


@pytest.mark.parametrize(("line", "fact"), LINES)
def test_lines_that_matter(line, fact):
    """Each wording of the kernel gives its kind, its device and its number, with the line as the message."""
    found = kernel_lines.read(line)
    assert (found.kind, found.device_kind, found.device_id, found.code) == fact
    assert found.message.startswith(line)


@pytest.mark.parametrize("line", HARMLESS)
def test_lines_that_do_not(line):
    """Lines of normal life say nothing."""
    assert kernel_lines.read(line) is None


def test_the_catalogue_explains_an_xid():
    """An XID's message ends with what it means and what helps."""
    found = kernel_lines.read("NVRM: Xid (PCI:0000:9b:00): 119, pid=1, Timeout after 6s")
    assert found.message.endswith("[GPU firmware (GSP) did not answer; advice: reset gpu]")
    assert len(xids.catalogue()) == 109
    assert {xid.group for xid in xids.catalogue().values()} <= {
        *("application", "follow_up", "memory", "retirement", "link", "device", "power", "advice", "test", "other")
    }
    assert xids.describe(9999) == ""


@given(st.text(max_size=300), st.sampled_from([line for line, _ in LINES]), st.integers(0, 120))
def test_any_line_is_read(junk, line, cut):
    """Whatever stands in a line, it is read without fail, and a code fits its column."""
    for text in (junk, line[:cut] + junk + line[cut:], line + junk, f"NVRM: Xid (PCI:0:0:0): {'9' * cut}, "):
        found = kernel_lines.read(text)
        if found and found.code is not None:
            assert 0 <= found.code < 2**63


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("PCI:0000:9b:00", "0000:9b:00.0"),
        ("00000000:1B:00.0", "0000:1b:00.0"),
        ("0018:01:00.1", "0018:01:00.1"),
        ("9b:00.0", "0000:9b:00.0"),
        ("eth0", "eth0"),
        ("", ""),
    ],
)
def test_pci_addresses_have_one_spelling(text, known):
    """An address reads the same whoever wrote it; what is none stays."""
    assert pci.address(text) == known
