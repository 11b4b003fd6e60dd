"""Reading the logs of NCCL and torch."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.collector import nccl_lines
from offbeat.collector.source import LocalRank, NoData
from offbeat.collector.sources.nccl_log import NcclLogSource

SAMPLE = Path(__file__).parents[4] / "shared" / "samples" / "logs" / "nccl_debug_and_torch.log"
AT = 1_700_000_000 * 10**9
WHO = "node01:4001:4091 [1]"
RETRY = (
    f"[2026-11-22 20:15:41] {WHO} transport/net_ib/p2p.cc:688 (ncclIbLogCompletionWithError) NCCL WARN NET/IB: Got "
    "completion from peer 10.0.0.2<48211> with status=IBV_WC_RETRY_EXC_ERR(12) opcode=IBV_WC_SEND(0) vendor_err=129 "
    "localGid fe80::a:1 remoteGidsfe80::a:2 hca mlx5_1"
)
OLD_RETRY = (
    f"{WHO} net_ib.cc:24 NCCL WARN NET/IB : Got completion from peer 10.0.0.2<1> with error 12, opcode 129, len 0"
)
FLUSH = f"{WHO} net_ib.cc:24 NCCL WARN NET/IB : Got completion from peer 10.0.0.2<1> with error 5, opcode 129, len 0"
ASYNC = f"{WHO} net_ib/common.cc:179 (x) NCCL WARN NET/IB : mlx5_1:1 Got non-fatal async event: port error(10)"
CLOSED = f"{WHO} misc/socket.cc:58 (x) NCCL WARN socketProgress: Connection closed by remote peer node02<40613>"
WATCHDOG = (
    "[rank1]:[E1122 20:25:41.001271823 ProcessGroupNCCL.cpp:760] [Rank 1] Watchdog caught collective operation "
    "timeout: WorkNCCL(SeqNum=1204, OpType=ALLREDUCE, NumelIn=6, NumelOut=6, Timeout(ms)=600000) "
    "ran for 600047 milliseconds before timing out."
)
INIT = (
    f"{WHO} NCCL INFO [Rank 1] ncclCommInitRankConfig comm 0x55d0c0ffee01 rank 1 nranks 8 cudaDev 1 nvmlDev 5 "
    "busId 3b000 commId 0x9e7a479f95a66c31 - Init COMPLETE"
)
USING = f"{WHO} NCCL INFO NET/IB : Using [0]mlx5_0:1/RoCE [1]mlx5_1:1/RoCE [RO]; OOB eth0:10.0.0.1<0>"
CHANNEL = f"{WHO} NCCL INFO Channel 00/0 : 1[1] -> 5[1] [send] via NET/IB/1/GDRDMA"


@pytest.fixture
def log(tmp_path):
    """Return an empty log that is followed."""
    found = tmp_path / "job.log"
    found.write_text("")
    return found


@pytest.fixture
def source(log):
    """Return a source that follows the log, on node01 with rank 1."""
    ranks = [LocalRank("job-1", 3, 1, 4001)]
    found = NcclLogSource("node01", lambda: ranks, f"{log.parent}/*.log", look_seconds=0, clock=lambda: AT)
    with pytest.raises(NoData):
        found.read()
    return found


def append(log, *lines):
    """Add lines to the log."""
    with log.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


@pytest.mark.parametrize(
    ("line", "kind", "code", "device"),
    [
        (RETRY, "nccl_net_error", 12, ("nic", "mlx5_1")),
        (OLD_RETRY, "nccl_net_error", 12, ("process", "4001")),
        (ASYNC, "nic_event", 10, ("nic", "mlx5_1:1")),
        (CLOSED, "nccl_peer_closed", None, ("process", "4001")),
        (WATCHDOG, "collective_timeout", 1204, ("process", "4001")),
        (f"{WHO} init.cc:12 NCCL WARN Cuda failure 'out of memory'", "nccl_warning", None, ("process", "4001")),
    ],
)
def test_complaints(log, source, line, kind, code, device):
    """A complaint is an event of the rank that made it, with its number and its adapter."""
    append(log, "", line)
    (row,) = source.read()["events"].to_pylist()
    assert (row["kind"], row["code"], row["rank"]) == (kind, code, 1)
    assert (row["device_kind"], row["device_id"]) == device


def test_no_complaints(log, source):
    """Work thrown away after a failure, lines of other hosts, and news are no events."""
    append(
        log,
        FLUSH,
        RETRY.replace("node01", "node02"),
        f"{WHO} NCCL INFO Bootstrap: Using eth0",
        WATCHDOG.replace("Rank 1", "Rank 9"),
    )
    with pytest.raises(NoData):
        source.read()


def test_the_same_again(log, source):
    """What is said again and again, only the numbers differ, is told once."""
    append(log, *(f"{WHO} x.cc:{n} NCCL WARN lost {n}" for n in range(100)))
    assert source.read()["events"].num_rows == 1


def test_who_a_rank_is(log, source):
    """From the lines of initialisation a rank's GPU and the adapter it sends through are known, once."""
    append(log, USING, CHANNEL, INIT)
    (row,) = source.read()["ranks"].to_pylist()
    assert (row["job"], row["rank"], row["gpu"], row["nic"]) == ("job-1", 1, 5, "mlx5_1:1")
    append(log, CHANNEL)
    with pytest.raises(NoData):
        source.read()


def test_what_was_there_before(log):
    """Of what was written before the agent came, who is who is taken, and complaints are not."""
    append(log, USING, CHANNEL, INIT, RETRY)
    ranks = [LocalRank("job-1", 3, 1, 4001)]
    found = NcclLogSource("node01", lambda: ranks, str(log), look_seconds=0).read()
    assert set(found) == {"ranks"}


@given(
    st.sampled_from([RETRY, ASYNC, CLOSED, WATCHDOG, INIT, USING, CHANNEL]), st.integers(0, 300), st.text(max_size=60)
)
def test_any_line(line, cut, junk):
    """Whatever stands in a line, it is read without fail."""
    for text in (junk, line[:cut] + junk + line[cut:], line[:cut], WHO + " NCCL WARN " + junk):
        found = nccl_lines.read(text)
        nccl_lines.torch_fault(text)
        if found is not None:
            nccl_lines.fault(found)
            nccl_lines.init(found.message)
            nccl_lines.nics(found.message)
            nccl_lines.sends_by(found.message)


@pytest.mark.skipif(not SAMPLE.exists(), reason="needs ../shared/samples/logs")
def test_a_sample(log):
    """Every complaint of the sample is an event."""
    source = NcclLogSource("node01", list, str(log), look_seconds=0)
    with pytest.raises(NoData):
        source.read()
    append(log, SAMPLE.read_text())
    kinds = [row["kind"] for row in source.read()["events"].to_pylist()]
    assert kinds == [
        *("nccl_net_error", "nccl_net_error", "nccl_peer_closed", "nic_event"),
        *("collective_timeout", "collective_failure"),
    ]
