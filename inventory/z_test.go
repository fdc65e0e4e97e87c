package inventory
import ("testing";"strings";"fmt";"time")
func TestZ(t *testing.T){
 for _,s:=range []string{"a = 0b"+strings.Repeat("9",100),"a = 0o"+strings.Repeat("9",100),"a = 0x"+strings.Repeat("_",100)+"zz","a=0b99999\nb=0b9999\nc=0b9999\nd=0b99999999999\n", "a=\"\\\n\"", "a=\"\\\x00\"", strings.Repeat("a.",1000000)+"a=1", "a="+strings.Repeat("[",1000000), strings.Repeat("[a]\n",1000), "[a"+strings.Repeat(".a",1000)+"]", func()string{var b strings.Builder; for i:=0;i<600000;i++{fmt.Fprintf(&b,"a%x=1\n",i)};return b.String()[:4000000]}(),
 func()string{var b strings.Builder; b.WriteString("[hosts]\n");for i:=0;i<300000;i++{fmt.Fprintf(&b,"a%x.a=1\n",i)};return b.String()}(), func()string{var b strings.Builder; b.WriteString("[deployments.a]\nhosts=[");for i:=0;i<400000;i++{fmt.Fprintf(&b,"\"a%x\",",i)};return b.String()+"]"}(),
 func()string{var b strings.Builder; for i:=0;i<150000;i++{fmt.Fprintf(&b,"[deployments.a%x]\n",i)};return b.String()}(), "a=\""+strings.Repeat("é",1900000)+"\"\n[hosts]\n"+strings.Repeat("\n",10), "[hosts]\n a={"+func()string{var b strings.Builder; for i:=0;i<300000;i++{fmt.Fprintf(&b,"é%x=1,",i)};return strings.ReplaceAll(b.String(),"é","e")}()+"}",
 }{
  st:=time.Now(); _,err:=Parse("i",[]byte(s),"."); e:=""; if err!=nil{e=err.Error()}
  if len(e)>150{e=e[:150]}
  fmt.Printf("%8v %7d %q\n",time.Since(st).Round(time.Millisecond),len(s),e)
 }
}
